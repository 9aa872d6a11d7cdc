import { Type, type Static } from "typebox";
import { clearTaskInstances } from "../../store/clear.ts";
import { newTasksOf, queueNewTasks } from "../../store/dag-run-new-tasks.ts";
import { findSerializedDag } from "../../store/query-dag-versions.ts";
import {
  findDagRunSummaries,
  findDagRunSummary,
  setDagRunNote,
  type DagRunSummary,
} from "../../store/query-dag-runs.ts";
import { findPartitionedRuns, forgetPartitions, type PartitionSelector } from "../../store/run-partitions.ts";
import { findTaskInstances } from "../../store/task-instances.ts";
import { partitionBound } from "../../domain/partition/partition-key.ts";
import { fromJsonText } from "../../kit/json-text.ts";
import { objectOf, type JsonObject } from "../../domain/serialized-value.ts";
import { audited } from "../audit.ts";
import { userOf, type ApiContext, type TypedApp } from "../context.ts";
import { badRequest } from "../errors.ts";
import { sendRaw } from "../raw-json.ts";
import { InstantText, nullable, strictObject, toInstant, valueError } from "../schema.ts";
import { toDagRunResponse } from "../serialize.ts";
import { bulkRunEntity } from "./dag-runs-bulk.ts";
import { collection, noteField } from "./dag-runs.ts";
import { dagRunNotFound, latestGraph } from "./dag-lookup.ts";
import { toTaskInstanceResponse } from "./task-instance-answers.ts";

const FAILED = ["failed", "upstream_failed"] as const;

const clearFields = {
  dry_run: Type.Boolean({ default: true }),
  only_failed: Type.Boolean({ default: false }),
  only_new: Type.Boolean({ default: false }),
  run_on_latest_version: Type.Optional(nullable(Type.Boolean())),
  note: noteField,
};
const partitionFields = {
  partition_key: Type.Optional(nullable(Type.String())),
  partition_date_start: Type.Optional(nullable(InstantText)),
  partition_date_end: Type.Optional(nullable(InstantText)),
};

const clearBody = strictObject(clearFields);
const bulkClearBody = strictObject({
  ...clearFields,
  ...partitionFields,
  dag_runs: Type.Array(bulkRunEntity, { default: [] }),
});
const clearPartitionsBody = strictObject({
  ...partitionFields,
  run_id: Type.Optional(nullable(Type.String())),
  clear_task_instances: Type.Boolean({ default: false }),
  dry_run: Type.Boolean({ default: true }),
});

/** Clearing whole runs: one, many, and the partitions of runs. */
export function dagRunClearRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;
  const dagParams = Type.Object({ dag_id: Type.String() });

  app.post(
    "/dags/:dag_id/dagRuns/:dag_run_id/clear",
    {
      schema: { params: Type.Object({ dag_id: Type.String(), dag_run_id: Type.String() }), body: clearBody },
      config: { role: "USER" },
      preValidation: audited(db, "clear_dag_run"),
    },
    async (request, reply) => {
      const { dag_id: dagId, dag_run_id: runId } = request.params;
      const { body } = request;
      refuseBothOnly(body);
      const run = await requireRun(dagId, runId);
      if (body.dry_run) return sendRaw(reply, taskCollection(await affectedBy(run, body)));
      return sendRaw(reply, toDagRunResponse(await clearRun(run, body, userOf(request).name)));
    },
  );

  app.post(
    "/dags/:dag_id/clearDagRuns",
    {
      schema: { params: dagParams, body: bulkClearBody },
      config: { role: "USER" },
      preValidation: audited(db, "clear_dag_runs"),
    },
    async (request, reply) => {
      const { body } = request;
      refuseBothOnly(body);
      refuseOtherThanOne([body.dag_runs.length > 0, ...partitionModes(body)], "dag_runs (non-empty)", body);
      refuseBackwardWindow(body);
      const runs = await meantRuns(request.params.dag_id, body);
      if (body.dry_run) {
        const affected = [];
        for (const run of runs) affected.push(...(await affectedBy(run, body)));
        return sendRaw(reply, taskCollection(affected));
      }
      const cleared: DagRunSummary[] = [];
      for (const run of runs) cleared.push(await clearRun(run, body, userOf(request).name));
      return sendRaw(reply, collection(cleared, cleared.length));
    },
  );

  app.post(
    "/dags/:dag_id/clearPartitions",
    {
      schema: { params: dagParams, body: clearPartitionsBody },
      config: { role: "USER" },
      preValidation: audited(db, "clear_dag_run_partitions"),
    },
    async (request) => {
      const { body } = request;
      refuseOtherThanOne([typeof body.run_id === "string", ...partitionModes(body)], "run_id", body);
      refuseBackwardWindow(body);
      const dagId = request.params.dag_id;
      const found = await findPartitionedRuns(db, dagId, await selectorOf(dagId, body));
      const partitioned = found.filter((run) => run.has_partition);
      if (!body.dry_run) {
        await forgetPartitions(
          db,
          partitioned.map(({ id }) => id),
        );
        const runIds = found.map(({ run_id }) => run_id);
        if (body.clear_task_instances && runIds.length > 0) await clearTaskInstances(context, { dagId, runIds });
      }
      const cleared = body.clear_task_instances ? found.reduce((sum, run) => sum + run.task_instances, 0) : 0;
      return { dag_runs_cleared: partitioned.length, task_instances_cleared: cleared, dry_run: body.dry_run };
    },
  );

  /** The bounds of a window are read on the clock of the DAG's timetable. */
  async function selectorOf(
    dagId: string,
    body: PartitionSelectors & { run_id?: string | null },
  ): Promise<PartitionSelector> {
    const { timetable } = await latestGraph(context, dagId);
    const bound = (text: string | null | undefined, name: string) =>
      text == null
        ? null
        : partitionBound(timetable, toInstant(text.replace(/([Zz]|[+-]\d\d:?\d\d)$/, ""), ["body", name]));
    return {
      runId: body.run_id ?? null,
      partitionKey: body.partition_key ?? null,
      from: bound(body.partition_date_start, "partition_date_start"),
      to: bound(body.partition_date_end, "partition_date_end"),
    };
  }

  async function requireRun(dagId: string, runId: string): Promise<DagRunSummary> {
    const run = await findDagRunSummary(db, dagId, runId);
    if (!run) throw dagRunNotFound(dagId, runId);
    return run;
  }

  async function meantRuns(dagId: string, body: Static<typeof bulkClearBody>): Promise<DagRunSummary[]> {
    if (body.dag_runs.length === 0) {
      if (dagId === "~") throw badRequest("Partition selectors require a concrete dag_id; '~' is not supported.");
      const found = await findPartitionedRuns(db, dagId, await selectorOf(dagId, body));
      return await findDagRunSummaries(
        db,
        found.map(({ run_id }): [string, string] => [dagId, run_id]),
      );
    }
    const keys = new Map<string, [string, string]>();
    for (const entry of body.dag_runs) {
      const own = entry.dag_id || (dagId === "~" ? "~" : dagId);
      if (own === "~") {
        throw badRequest(
          "When the URL dag_id is '~', every entry must provide a concrete dag_id " +
            `(missing on dag_run_id: '${entry.dag_run_id}').`,
        );
      }
      if (dagId !== "~" && own !== dagId) {
        throw badRequest(`Entry dag_id '${own}' does not match the URL dag_id '${dagId}'.`);
      }
      keys.set(JSON.stringify([own, entry.dag_run_id]), [own, entry.dag_run_id]);
    }
    const found = await findDagRunSummaries(db, [...keys.values()]);
    return [...keys.values()].map(([ownDagId, runId]) => {
      const run = found.find((row) => row.dag_id === ownDagId && row.run_id === runId);
      if (!run) throw dagRunNotFound(ownDagId, runId);
      return run;
    });
  }

  /** What a clear would touch. */
  async function affectedBy(run: DagRunSummary, body: Static<typeof clearBody>): Promise<object[]> {
    if (body.only_new) {
      const added = await newTasksOf(context, run, await latestGraph(context, run.dag_id));
      return added.map((taskId) => ({ task_id: taskId, task_display_name: taskId }));
    }
    const rows = await findTaskInstances(db, {
      dagId: run.dag_id,
      runId: run.run_id,
      ...(body.only_failed ? { states: FAILED } : {}),
    });
    return rows.map(toTaskInstanceResponse);
  }

  async function clearRun(
    run: DagRunSummary,
    body: Static<typeof clearBody>,
    userName: string,
  ): Promise<DagRunSummary> {
    if (body.only_new) await queueNewTasks(context, run);
    else {
      await clearTaskInstances(
        context,
        {
          dagId: run.dag_id,
          runIds: [run.run_id],
          ...(body.only_failed ? { states: FAILED } : {}),
        },
        { runOnLatestVersion: body.run_on_latest_version ?? (await rerunsOnLatest(run.dag_id)) },
      );
    }
    if (body.note !== undefined && body.note !== null) await setDagRunNote(db, run.id, body.note, userName);
    return await requireRun(run.dag_id, run.run_id);
  }

  /** The DAG's own `rerun_with_latest_version`; Airflow's default is false. */
  async function rerunsOnLatest(dagId: string): Promise<boolean> {
    const version = await findSerializedDag(db, dagId);
    if (!version) return false;
    return objectOf(fromJsonText<JsonObject>(version.serialized).dag).rerun_with_latest_version === true;
  }
}

function taskCollection(tasks: readonly object[]) {
  return { task_instances: tasks, total_entries: tasks.length };
}

function refuseBothOnly(body: { only_new: boolean; only_failed: boolean }): void {
  if (body.only_new && body.only_failed) {
    throw valueError(["body"], "only_new and only_failed are mutually exclusive", body);
  }
}

interface PartitionSelectors {
  partition_key?: string | null;
  partition_date_start?: string | null;
  partition_date_end?: string | null;
}

function partitionModes(body: PartitionSelectors): [byKey: boolean, byWindow: boolean] {
  const byWindow = typeof body.partition_date_start === "string" || typeof body.partition_date_end === "string";
  return [typeof body.partition_key === "string", byWindow];
}

function refuseOtherThanOne(active: readonly boolean[], name: string, body: unknown): void {
  if (active.filter(Boolean).length === 1) return;
  throw valueError(
    ["body"],
    `Exactly one of ${name}, partition_key, or a partition date window ` +
      "(partition_date_start / partition_date_end) must be provided.",
    body,
  );
}

function refuseBackwardWindow(body: PartitionSelectors): void {
  const { partition_date_start: start, partition_date_end: end } = body;
  if (typeof start !== "string" || typeof end !== "string") return;
  if (toInstant(start, ["body", "partition_date_start"]) > toInstant(end, ["body", "partition_date_end"])) {
    throw valueError(["body"], "partition_date_start must be on or before partition_date_end.", body);
  }
}
