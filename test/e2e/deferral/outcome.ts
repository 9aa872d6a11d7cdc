import type { Client } from "../../../bench/client.ts";
import { runPath } from "../../conformance/outcome.ts";
import { nameOf, stateOf, taskInstancesOf, xcomsOf, type TaskInstance } from "../outcome.ts";

/** The DAGs of deferral.py whose outcome Airflow gave too: triggered once, in this order. */
export const COMPARED = [
  "defer_event",
  "defer_twice",
  "defer_date",
  "defer_unserializable",
  "defer_raise",
  "defer_nothing",
  "defer_success",
  "defer_failed",
  "defer_skipped",
  "defer_log",
  "defer_many_times",
  "defer_fail_fast",
  "defer_fail_fast_raise",
  "defer_timeout",
  "defer_retry",
  "defer_failed_retry",
  "defer_unknown_class",
  "defer_unknown_module",
  "defer_cannot_be_made",
  "defer_execution_timeout",
  "defer_sensor_soft_fail",
  "defer_sensor_timeout",
  "defer_sensor_soft_timeout",
  "defer_sensor_never_fail",
  "start_from_trigger",
  "start_from_trigger_kwargs",
  "start_from_trigger_raise",
  "start_from_trigger_timeout",
  "start_from_trigger_execution_timeout",
  "start_from_trigger_retry",
  "start_from_trigger_mapped",
  "defer_mapped",
  "defer_temporal",
  "defer_file",
  "defer_file_later",
  "defer_trigger_dagrun",
  "defer_external",
  "async_task",
] as const;

/** What the DAGs expect to be there. */
export async function prepare(client: Client): Promise<void> {
  // Airflow makes this connection in some ways of setting it up.
  await client.call("POST", "/api/v2/connections", { connection_id: "fs_default", conn_type: "fs" }).catch(() => null);
  for (const dag of ["defer_child", "defer_child_fails"]) await client.unpause(dag);
}

/** What came of a run, without what differs from run to run. */
export interface Outcome {
  state: string;
  /** `task[map index]` → "state try/max_tries", and its XComs. */
  tasks: Record<string, { state: string; xcoms?: Record<string, unknown> }>;
  /** `task[map index]/attempt` → events that the log must hold: those of the trigger and the reason of a failure. */
  logs: Record<string, string[]>;
}

export async function outcomeOf(client: Client, dagId: string, runId: string): Promise<Outcome> {
  const path = runPath(dagId, runId);
  const run = (await client.call("GET", path)) as { state: string };
  const outcome: Outcome = { state: run.state, tasks: {}, logs: {} };
  for (const ti of await taskInstancesOf(client, path)) {
    const xcoms = await xcomsOf(client, path, ti, namesRunOrFile);
    outcome.tasks[nameOf(ti)] = {
      state: stateOf(ti),
      ...(Object.keys(xcoms).length > 0 ? { xcoms } : {}),
    };
    for (let attempt = 1; attempt <= ti.try_number; attempt++) {
      const said = await logOf(client, path, ti, attempt);
      if (said.length > 0) outcome.logs[`${nameOf(ti)}/${attempt}`] = said;
    }
  }
  return outcome;
}

/** XComs whose value names a run or a file. */
const namesRunOrFile = (key: string): boolean => key === "trigger_run_id" || key.startsWith("_link");

/** Lines worth comparing, without ids and times. */
const SAID =
  /^(trigger |Trigger |Pausing task|said by|Sensor|Task failed|Skipping|Could not resume|.*(TaskDeferral|AirflowSensorTimeout))/;

async function logOf(client: Client, path: string, ti: TaskInstance, attempt: number): Promise<string[]> {
  const address = `${path}/taskInstances/${ti.task_id}/logs/${attempt}?map_index=${ti.map_index}`;
  // Airflow keeps no row of some tries that had no process.
  const { content } = (await client.call("GET", address).catch(() => ({ content: [] }))) as {
    content: { event: string; level?: string; error_detail?: { exc_type: string; exc_value: string }[] }[];
  };
  return content
    .filter(({ event }) => SAID.test(event))
    .map(({ level, event, error_detail: detail }) => {
      const plain = (text: string): string =>
        text
          .split("\n")
          .filter((line) => !/^\s|^$/.test(line))
          .join("\n")
          .replaceAll(/(manual__|scheduled__)?\d{4}-\d\d-\d\d[T ][\d:.+Z-]+/g, "…")
          .replaceAll(/ID \d+|0x[0-9a-f]+|Trigger \d+/g, "#");
      // Of a traceback, what was raised at last: the frames between are each one's own.
      const said = event.includes("Traceback") ? `${event.split("\n")[0]}\n${event.trim().split("\n").at(-1)}` : event;
      const cause = detail?.map(({ exc_type, exc_value }) => `${exc_type}: ${plain(exc_value)}`).join(" < ");
      return `${level}: ${plain(said)}${cause ? ` | ${cause}` : ""}`;
    });
}
