import { Type } from "typebox";
import { calendarCells, ganttBars, latestRuns, recentDurations, type RunGlance } from "../../store/ui-runs.ts";
import { findDagRow } from "../../store/query-dags.ts";
import { formatInstant } from "../../kit/instant.ts";
import type { ApiContext, TypedApp } from "../context.ts";
import { badRequest, notFound } from "../errors.ts";
import { instantRangeOf, instantRangeQuery } from "../query.ts";
import { enumOf } from "../schema.ts";
import { instantOrNull, secondsBetween } from "../serialize.ts";
import { durationStats } from "./duration-stats.ts";
import { plannedRuns } from "./planned-runs.ts";

const DagParams = Type.Object({ dag_id: Type.String() });

/** A run in a list of DAGs. */
export function toRunGlance(run: RunGlance) {
  return {
    id: run.id,
    dag_id: run.dag_id,
    run_id: run.run_id,
    logical_date: instantOrNull(run.logical_date),
    run_after: formatInstant(run.run_after),
    start_date: instantOrNull(run.start_date),
    end_date: instantOrNull(run.end_date),
    state: run.state,
    duration: secondsBetween(run.start_date, run.end_date),
  };
}

/** What the pages of a DAG and of a run show beside the public API's answers. */
export function runRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;
  app.get("/dags/:dag_id/latest_run", { schema: { params: DagParams } }, async (request, reply) => {
    const { dag_id } = request.params;
    if (dag_id === "~") {
      throw badRequest("`~` was supplied as dag_id, but querying multiple dags is not supported.");
    }
    const [run] = await latestRuns(db, [dag_id], 1);
    return run ? toRunGlance(run) : reply.type("application/json").send("null");
  });

  const RunParams = Type.Object({ dag_id: Type.String(), dag_run_id: Type.String() });
  app.get("/dags/:dag_id/dagRuns/:dag_run_id/stats", { schema: { params: RunParams } }, async (request) => {
    const { dag_id, dag_run_id } = request.params;
    const durations = await recentDurations(db, dag_id, dag_run_id);
    if (!durations) {
      throw notFound(`The DagRun with dag_id: \`${dag_id}\` and run_id: \`${dag_run_id}\` was not found`);
    }
    return { duration: durationStats(durations) };
  });

  const GanttParams = Type.Object({ dag_id: Type.String(), run_id: Type.String() });
  app.get("/gantt/:dag_id/:run_id", { schema: { params: GanttParams } }, async (request) => {
    const { dag_id, run_id } = request.params;
    const bars = await ganttBars(db, dag_id, run_id);
    if (bars.length === 0) throw notFound(`No task instances for dag_id=${dag_id} run_id=${run_id}`);
    const task_instances = bars.map((bar) => ({
      ...bar,
      scheduled_dttm: instantOrNull(bar.scheduled_dttm),
      queued_dttm: instantOrNull(bar.queued_dttm),
      start_date: instantOrNull(bar.start_date),
      end_date: instantOrNull(bar.end_date),
      is_group: false,
      is_mapped: false,
    }));
    return { dag_id, run_id, task_instances };
  });

  const CalendarQuery = Type.Object({
    granularity: Type.Unsafe<"hourly" | "daily">({ ...enumOf(["hourly", "daily"]), default: "daily" }),
    ...instantRangeQuery("logical_date"),
    ...instantRangeQuery("partition_date"),
  });
  app.get("/calendar/:dag_id", { schema: { params: DagParams, querystring: CalendarQuery } }, async (request) => {
    const { dag_id } = request.params;
    const { query } = request;
    const dag = await findDagRow(db, dag_id);
    if (!dag?.current_version_id) throw notFound(`The Dag with ID: \`${dag_id}\` was not found`);
    const logicalDate = instantRangeOf(query, "logical_date");
    const partitionDate = instantRangeOf(query, "partition_date");
    const past = await calendarCells(db, dag_id, { granularity: query.granularity, logicalDate, partitionDate });
    const planned = new Map<string, number>();
    const next = { ...dag, current_version_id: dag.current_version_id };
    for (const date of await plannedRuns(context, next, logicalDate)) {
      const cell = query.granularity === "daily" ? `${date.slice(0, 10)}T00:00:00Z` : `${date.slice(0, 13)}:00:00Z`;
      planned.set(cell, (planned.get(cell) ?? 0) + 1);
    }
    const dag_runs = [
      ...past.map(({ date, state, count }) => ({ date: formatInstant(date), state, count })),
      ...[...planned].map(([date, count]) => ({ date, state: "planned", count })),
    ];
    return { total_entries: dag_runs.length, dag_runs };
  });
}
