import type { Transaction } from "kysely";
import type { Instant } from "../kit/instant.ts";
import { newId } from "../kit/ids.ts";
import type { DagGraph } from "../domain/dag-graph.ts";
import type { DagRunState } from "../domain/states.ts";
import { HOLDS_PROCESS } from "../domain/states-of-work.ts";
import { insertTaskInstances } from "./live-runs.ts";
import type { Schema } from "./schema.ts";

export interface VersionedRun {
  id: number;
  dag_id: string;
  state: DagRunState;
}

/**
 * Makes a run's task instances those of a DAG version: new tasks get their rows, tasks that are gone become "removed" (while the
 * run is running they are left to it), tasks that came back are open again. Returns the tries that lost their process.
 */
export async function moveRunToVersion(
  trx: Transaction<Schema>,
  run: VersionedRun,
  version: { id: string; graph: DagGraph; bundleVersion: string | null },
  now: Instant,
): Promise<string[]> {
  await trx
    .updateTable("dag_run")
    .set({ dag_version_id: version.id, bundle_version: version.bundleVersion, updated_at: now })
    .where("id", "=", run.id)
    .execute();
  const rows = await trx
    .selectFrom("task_instance")
    .select(["id", "task_id", "map_index", "state"])
    .where("dag_run_id", "=", run.id)
    .forNoKeyUpdate()
    .execute();
  const present = new Set(rows.map((row) => row.task_id));
  const gone = rows.filter((row) => !version.graph.tasks.has(row.task_id) && row.state !== "removed");
  const back = rows.filter(
    (row) => version.graph.tasks.has(row.task_id) && row.state === "removed" && row.map_index < 0,
  );
  const removed = run.state === "running" ? [] : gone;
  await setStates(
    trx,
    removed.map(({ id }) => id),
    "removed",
    now,
  );
  await setStates(
    trx,
    back.map(({ id }) => id),
    null,
    now,
  );
  const missing = [...version.graph.tasks.values()].filter((task) => !present.has(task.taskId));
  await insertTaskInstances(
    trx,
    missing.map((task) => ({
      id: newId(),
      run: { id: run.id, dag_id: run.dag_id, dag_version_id: version.id },
      task,
      mapIndex: -1,
    })),
  );
  return removed.filter(({ state }) => state !== null && HOLDS_PROCESS.has(state)).map(({ id }) => id);
}

async function setStates(
  trx: Transaction<Schema>,
  ids: readonly string[],
  state: "removed" | null,
  now: Instant,
): Promise<void> {
  if (ids.length === 0) return;
  await trx
    .updateTable("task_instance")
    .set({ state, wake_at: null, updated_at: now })
    .where("id", "in", ids)
    .execute();
}
