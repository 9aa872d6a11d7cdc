import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Type } from "typebox";
import { formatInstant, pythonIsoFormat } from "../../kit/instant.ts";
import { JOB_ORDER, latestJobs, listJobs } from "../../store/query-catalog.ts";
import type { ApiContext, TypedApp } from "../context.ts";
import { instantRangeOf, instantRangeQuery, orderByQuery, orderOf, pageOf, pageQuery } from "../query.ts";
import { instantOrNull } from "../serialize.ts";

/** The Airflow whose API and UI this is. */
export const AIRFLOW_VERSION = "3.3.2";

const jobQuery = Type.Object({
  ...pageQuery,
  ...orderByQuery,
  ...instantRangeQuery("start_date"),
  ...instantRangeQuery("end_date"),
  job_state: Type.Optional(Type.String()),
  job_type: Type.Optional(Type.String()),
  hostname: Type.Optional(Type.String()),
  executor_class: Type.Optional(Type.String()),
  is_alive: Type.Optional(Type.Boolean()),
});

/** How the installation is doing: `/monitor/health`, `/version`, `/jobs`. */
export function monitoringRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;

  const gitVersion = readFile(join(context.airflowPackageDir, "airflow/git_version"), "utf8").then(
    (text) => text.trim() || null,
    () => null,
  );
  app.get("/version", { config: { role: "public" } }, async () => ({
    version: AIRFLOW_VERSION,
    git_version: await gitVersion,
  }));

  app.get("/monitor/health", { config: { role: "public" } }, async (request) => {
    const jobs = await latestJobs(db).catch((error: unknown) => {
      request.log.warn({ err: error }, "the database does not answer the health check");
      return null;
    });
    const partOf = (type: string, whenAbsent: "unhealthy" | null) => {
      const job = jobs?.find((row) => row.job_type === type);
      if (!job) return { status: jobs ? whenAbsent : "unhealthy", heartbeat: null };
      return { status: job.alive ? "healthy" : "unhealthy", heartbeat: pythonIsoFormat(job.latest_heartbeat) };
    };
    const scheduler = partOf("SchedulerJob", "unhealthy");
    const triggerer = partOf("TriggererJob", null);
    const processor = partOf("DagProcessorJob", null);
    return {
      metadatabase: { status: jobs ? "healthy" : "unhealthy" },
      scheduler: { status: scheduler.status, latest_scheduler_heartbeat: scheduler.heartbeat },
      triggerer: { status: triggerer.status, latest_triggerer_heartbeat: triggerer.heartbeat },
      dag_processor: { status: processor.status, latest_dag_processor_heartbeat: processor.heartbeat },
    };
  });

  app.get("/jobs", { schema: { querystring: jobQuery } }, async ({ query }) => {
    const orders = orderOf(query.order_by, { allowed: Object.keys(JOB_ORDER), primaryKey: "id" });
    const { rows, total } = await listJobs(
      db,
      {
        state: query.job_state,
        jobType: query.job_type,
        hostname: query.hostname,
        executorClass: query.executor_class,
        startDate: instantRangeOf(query, "start_date"),
        endDate: instantRangeOf(query, "end_date"),
        alive: query.is_alive,
      },
      { orders, page: pageOf(query) },
    );
    return {
      jobs: rows.map((row) => ({
        id: row.id,
        dag_id: row.dag_id,
        state: row.state,
        job_type: row.job_type,
        start_date: formatInstant(row.start_date),
        end_date: instantOrNull(row.end_date),
        latest_heartbeat: formatInstant(row.latest_heartbeat),
        executor_class: row.executor_class,
        hostname: row.hostname,
        unixname: row.unixname,
        dag_display_name: row.dag_display_name,
      })),
      total_entries: total,
    };
  });
}
