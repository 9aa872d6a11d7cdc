import type { Client } from "../../bench/client.ts";
import type { RunOutcome } from "./outcome.ts";

/** What is left to wait for. */
export interface WaitingOutcome {
  queued: number;
  /** [key, received, required] */
  partitions: [string, number, number][];
}

interface AssetEvent {
  name: string;
  extra: unknown;
  source_dag_id: string | null;
  source_task_id: string | null;
  source_map_index: number;
  partition_key: string | null;
  created_dagruns: { dag_id: string }[];
}

const byText = (a: unknown, b: unknown) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);

/** The events that a run says it was made for. */
export async function captureConsumed(client: Client, runPath: string): Promise<unknown[]> {
  const { asset_events: events } = (await client.call("GET", `${runPath}/upstreamAssetEvents`)) as {
    asset_events: AssetEvent[];
  };
  return events
    .map((event) => {
      const { name, extra, source_dag_id, source_task_id, source_map_index, partition_key } = event;
      const runs = event.created_dagruns.map(({ dag_id }) => dag_id).sort();
      return [name, extra, source_dag_id, source_task_id, source_map_index, partition_key, runs];
    })
    .sort(byText);
}

/** Nothing for DAGs that wait for nothing. */
export async function captureWaiting(client: Client, dagId: string): Promise<{ waits?: WaitingOutcome }> {
  if (!dagId.startsWith("asset_")) return {};
  const { total_entries: queued } = (await client.call("GET", `/api/v2/dags/${dagId}/assets/queuedEvents`)) as {
    total_entries: number;
  };
  const path = `/ui/partitioned_dag_runs?dag_id=${dagId}&has_created_dag_run_id=false`;
  const answer = (await client.call("GET", path)) as {
    partitioned_dag_runs: { partition_key: string; total_received: number; total_required: number }[];
  };
  const partitions = answer.partitioned_dag_runs
    .map((one): [string, number, number] => [one.partition_key, one.total_received, one.total_required])
    .sort(byText);
  return queued + partitions.length > 0 ? { waits: { queued, partitions } } : {};
}

/** Some ids tell the time, or are random: such runs are numbered, those that came to the same alike. */
export function withFixedIds(runs: readonly RunOutcome[]): RunOutcome[] {
  const named = runs.map((run) => ({ ...run, run: run.run.replace(/^(scheduled__.+__.+)__\w{8}$/, "$1") }));
  const timed = named.filter(({ run }) => /^asset_(triggered|materialization)__/.test(run));
  const numbered = timed.toSorted((a, b) => byText({ ...a, run: "" }, { ...b, run: "" }));
  const others = named.filter((run) => !timed.includes(run));
  return [...others, ...numbered.map((run, index) => ({ ...run, run: `${run.type} ${index + 1}` }))];
}
