import type { Logger } from "../kit/service.ts";
import type { LoadedVersion, VersionCache } from "../store/dag-versions.ts";
import type { Database } from "../store/database.ts";
import { insertTaskInstances, loadRuns, type LoadedRun, type NewTaskInstance } from "../store/live-runs.ts";
import { liveRun, missingTaskInstances, type LiveRun } from "./live-run.ts";

interface Deps {
  db: Database;
  versions: VersionCache;
  logger: Logger;
}

interface Found {
  loaded: LoadedRun;
  version: LoadedVersion;
}

/**
 * Reads those of these runs that are queued or running, by id, and makes the task instances that they lack. One whose version
 * cannot be read is left out, and the log says so: the next tick tries it again.
 */
export async function readRuns(deps: Deps, ids: readonly number[]): Promise<Map<number, LiveRun>> {
  const { db } = deps;
  let found = await findRuns(deps, ids);
  const missing: NewTaskInstance[] = [];
  for (const { loaded, version } of found) missing.push(...missingTaskInstances(loaded, version));
  const inserted = await insertTaskInstances(db, missing);
  if (inserted.size < missing.length) {
    found = await findRuns(deps, ids);
  } else {
    const of = new Map(found.map(({ loaded }) => [loaded.run.id, loaded.taskInstances]));
    for (const { id, run, task, mapIndex } of missing) {
      of.get(run.id)?.push({ id, taskId: task.taskId, mapIndex, state: null, tryNumber: 0, wakeAt: null });
    }
  }
  const runs = new Map<number, LiveRun>();
  for (const { loaded, version } of found) runs.set(loaded.run.id, await liveRun(db, loaded, version));
  return runs;
}

async function findRuns({ db, versions, logger }: Deps, ids: readonly number[]): Promise<Found[]> {
  const found: Found[] = [];
  for (const loaded of await loadRuns(db, ids)) {
    const { run } = loaded;
    if (run.state !== "queued" && run.state !== "running") continue;
    try {
      found.push({ loaded, version: await versions.get(run.dag_version_id) });
    } catch (error) {
      logger.error({ err: error, dagId: run.dag_id, runId: run.run_id }, "the run's DAG version cannot be read");
    }
  }
  return found;
}
