import type { JsonText } from "../kit/json-text.ts";
import { RawJson, type HeartbeatAnswer, type StartAnswer, type WorkerProcess } from "../domain/task-execution.ts";
import { recordHeartbeat, whereabouts } from "../store/execution-liveness.ts";
import { startTaskInstance, type StartRow } from "../store/execution-start.ts";
import { teamNameOf } from "../store/execution-team.ts";
import type { ExecutionContext } from "./context.ts";
import { dagRunFields } from "./dag-run.ts";
import { mayRetry } from "./retry-rule.ts";
import { writeJson } from "./json-writer.ts";

/** `PATCH /task-instances/{id}/run`. */
export async function startTask(x: ExecutionContext, id: string, worker: WorkerProcess): Promise<StartAnswer> {
  const row = await startTaskInstance(x.deps.database.pool, {
    id,
    ...worker,
    workerId: worker.workerId ?? null,
    now: x.kit.clock.now(),
  });
  if (!row) return { kind: "refused", reason: "not_found", previousState: null };
  if (!row.started) return { kind: "refused", reason: "invalid_state", previousState: row.previous_state };
  if (row.previous_state !== "running") {
    x.deps.bus.publish({
      kind: "task-instance",
      dagRunId: row.dag_run_id,
      id,
      taskId: row.task_id,
      mapIndex: row.map_index,
      state: "running",
      wakeAt: null,
      newId: null,
      mappedLength: null,
    });
  }
  const team = x.config.multiTeam ? await teamNameOf(x.deps.database.db, { callerId: id }) : null;
  return { kind: "started", context: runContext(row, team) };
}

/** TIRunContext; what is not set is left out, as Airflow does. */
function runContext(row: StartRow, team: string | null): JsonText {
  const resumed = row.next_method !== null && {
    next_method: row.next_method,
    next_kwargs: row.next_kwargs === null ? null : new RawJson(row.next_kwargs),
    start_date: row.ti_start_date,
  };
  return writeJson({
    dag_run: { ...dagRunFields(row), team_name: team },
    task_reschedule_count: row.reschedule_count,
    max_tries: row.max_tries,
    variables: [],
    connections: [],
    xcom_keys_to_clear: new RawJson(row.xcom_keys),
    should_retry: mayRetry({ state: row.previous_state, tryNumber: row.try_number, maxTries: row.max_tries }),
    ...resumed,
  });
}

/** `PUT /task-instances/{id}/heartbeat`. */
export async function heartbeat(
  x: ExecutionContext,
  id: string,
  worker: { hostname: string; pid: number },
): Promise<HeartbeatAnswer> {
  const { pool } = x.deps.database;
  if (await recordHeartbeat(pool, { id, ...worker, now: x.kit.clock.now() })) return "alive";
  const found = await whereabouts(pool, id);
  if (!found.live) return found.archived ? "gone" : "not_found";
  if (found.hostname !== worker.hostname || found.pid !== worker.pid) return "running_elsewhere";
  // It may have begun to run between the two statements.
  return found.state === "running" ? "alive" : "not_running";
}
