import type { Insertable, Selectable } from "kysely";
import type { EventBus } from "../../src/domain/events.ts";
import { systemClock } from "../../src/kit/clock.ts";
import { newId } from "../../src/kit/ids.ts";
import { parseInstant, type Instant } from "../../src/kit/instant.ts";
import { toJsonText } from "../../src/kit/json-text.ts";
import { createDagRun } from "../../src/store/dag-run-creation.ts";
import type { Database } from "../../src/store/database.ts";
import type {
  DagRunTable,
  DagTable,
  DagVersionTable,
  TaskInstanceHistoryTable,
  TaskInstanceTable,
} from "../../src/store/schema.ts";

/** A moment all factories share, so that tests can compare with it. */
export const NOON: Instant = parseInstant("2026-01-01T12:00:00Z");

let counter = 0;

/** A name no other row of this test process has. */
export function unique(prefix: string): string {
  counter += 1;
  return `${prefix}_${counter}`;
}

/** The smallest serialized DAG (format 3) with these tasks in a row of their own, or chained by `downstream`. */
export function serializedDag(
  dagId: string,
  tasks: readonly { id: string; downstream?: readonly string[]; [field: string]: unknown }[] = [{ id: "a" }],
  dag: Record<string, unknown> = {},
): Record<string, unknown> {
  return {
    __version: 3,
    dag: {
      dag_id: dagId,
      fileloc: `/workspace/${dagId}.py`,
      relative_fileloc: `${dagId}.py`,
      timezone: "UTC",
      timetable: { __type: "airflow.timetables.simple.NullTimetable", __var: {} },
      start_date: 1735689600.0,
      catchup: false,
      tags: [],
      params: [],
      dag_dependencies: [],
      edge_info: {},
      deadline: null,
      allowed_run_types: null,
      task_group: {
        _group_id: null,
        group_display_name: "",
        prefix_group_id: true,
        tooltip: "",
        ui_color: "CornflowerBlue",
        ui_fgcolor: "#000",
        children: Object.fromEntries(tasks.map(({ id }) => [id, ["operator", id]])),
        upstream_group_ids: [],
        downstream_group_ids: [],
        upstream_task_ids: [],
        downstream_task_ids: [],
      },
      tasks: tasks.map(({ id, downstream, ...fields }) => ({
        __type: "operator",
        __var: {
          task_id: id,
          task_type: "PythonOperator",
          _task_module: "airflow.providers.standard.operators.python",
          _needs_expansion: false,
          template_fields: [],
          template_ext: [],
          template_fields_renderers: {},
          ...(downstream ? { downstream_task_ids: downstream } : {}),
          ...fields,
        },
      })),
      ...dag,
    },
    client_defaults: { tasks: {} },
  };
}

export async function makeDag(
  db: Database,
  columns: Partial<Insertable<DagTable>> = {},
): Promise<Selectable<DagTable>> {
  const dagId = columns.dag_id ?? unique("dag");
  return db
    .insertInto("dag")
    .values({
      dag_id: dagId,
      fileloc: `/workspace/${dagId}.py`,
      relative_fileloc: `${dagId}.py`,
      owners: "airflow",
      max_active_tasks: 16,
      max_active_runs: 16,
      ...columns,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** A version of a DAG that exists, made its current one. `tasks` and `dag` shape the serialized DAG. */
export async function makeVersion(
  db: Database,
  columns: Partial<Insertable<DagVersionTable>> & { dag_id: string },
  shape: { tasks?: Parameters<typeof serializedDag>[1]; dag?: Record<string, unknown> } = {},
): Promise<Selectable<DagVersionTable>> {
  const id = columns.id ?? newId();
  const { newest } = await db
    .selectFrom("dag_version")
    .where("dag_id", "=", columns.dag_id)
    .select(({ fn }) => fn.max("version_number").as("newest"))
    .executeTakeFirstOrThrow();
  const version = await db
    .insertInto("dag_version")
    .values({
      version_number: Number(newest ?? 0) + 1,
      dag_hash: id.replaceAll("-", ""),
      archive_digest: id.replaceAll("-", ""),
      dag_rel_path: `${columns.dag_id}.py`,
      serialized: toJsonText(serializedDag(columns.dag_id, shape.tasks, shape.dag)),
      source_code: "# made by a test\n",
      ...columns,
      id,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
  await db.updateTable("dag").set({ current_version_id: id }).where("dag_id", "=", columns.dag_id).execute();
  return version;
}

/** A run of a DAG that exists; running unless told, on the DAG's current version where it has one. */
export async function makeRun(
  db: Database,
  columns: Partial<Insertable<DagRunTable>> & { dag_id: string },
): Promise<Selectable<DagRunTable>> {
  const runId = columns.run_id ?? unique("manual__run");
  const state = columns.state ?? "running";
  const dag = await db
    .selectFrom("dag")
    .where("dag_id", "=", columns.dag_id)
    .select("current_version_id")
    .executeTakeFirstOrThrow();
  return db
    .insertInto("dag_run")
    .values({
      run_id: runId,
      run_type: "manual",
      state,
      run_after: columns.logical_date ?? NOON,
      queued_at: NOON,
      start_date: state === "queued" ? null : NOON,
      end_date: state === "success" || state === "failed" ? NOON : null,
      dag_version_id: dag.current_version_id,
      triggered_by: "rest_api",
      ...columns,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** A run as a user's trigger makes it, told to whom it concerns. Returns its id. */
export async function triggerRun(
  db: Database,
  bus: EventBus,
  dagId: string,
  triggeredBy = "rest_api",
): Promise<number> {
  const made = await createDagRun(db, {
    dagId,
    runId: unique("manual__"),
    runType: "manual",
    logicalDate: null,
    dataIntervalStart: null,
    dataIntervalEnd: null,
    runAfter: systemClock.now(),
    conf: null,
    triggeredBy,
    triggeringUserName: "admin",
  });
  if (made.kind !== "created") throw new Error(made.kind);
  bus.publish({ kind: "dag-run", dagRunId: made.id });
  return made.id;
}

/** A task instance of a run that exists: task "a", not scheduled yet, unless told. */
export async function makeTaskInstance(
  db: Database,
  columns: Partial<Insertable<TaskInstanceTable>> & { dag_run_id: number },
): Promise<Selectable<TaskInstanceTable>> {
  const run = await db
    .selectFrom("dag_run")
    .where("id", "=", columns.dag_run_id)
    .select(["dag_id", "dag_version_id"])
    .executeTakeFirstOrThrow();
  return db
    .insertInto("task_instance")
    .values({
      id: newId(),
      dag_id: run.dag_id,
      dag_version_id: run.dag_version_id,
      task_id: "a",
      state: null,
      task_display_name: columns.task_id ?? "a",
      operator: "PythonOperator",
      queue: "default",
      ...columns,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** An earlier try of a task instance, as a retry leaves it behind. */
export async function makeTaskInstanceHistory(
  db: Database,
  columns: Partial<Insertable<TaskInstanceHistoryTable>> & { dag_run_id: number },
): Promise<Selectable<TaskInstanceHistoryTable>> {
  const run = await db
    .selectFrom("dag_run")
    .where("id", "=", columns.dag_run_id)
    .select(["dag_id", "dag_version_id"])
    .executeTakeFirstOrThrow();
  return db
    .insertInto("task_instance_history")
    .values({
      id: newId(),
      dag_id: run.dag_id,
      dag_version_id: run.dag_version_id,
      task_id: "a",
      map_index: -1,
      state: "failed",
      try_number: 1,
      max_tries: 0,
      pool: "default_pool",
      pool_slots: 1,
      start_date: NOON,
      end_date: NOON,
      duration: 0,
      ...columns,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** A DAG with one version, one running run and one task instance in the given state: what most tests start from. */
export async function makeRunningTask(
  db: Database,
  columns: Partial<Insertable<TaskInstanceTable>> = {},
  shape: Parameters<typeof makeVersion>[2] & { run?: Partial<Insertable<DagRunTable>> } = {},
) {
  const dag = await makeDag(db);
  const version = await makeVersion(db, { dag_id: dag.dag_id }, shape);
  const run = await makeRun(db, { dag_id: dag.dag_id, ...shape.run });
  const ti = await makeTaskInstance(db, {
    state: "queued",
    try_number: 1,
    ...columns,
    dag_run_id: run.id,
  });
  return { dag, version, run, ti };
}
