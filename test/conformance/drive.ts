import { copyFileSync } from "node:fs";
import { basename, join } from "node:path";
import { sleep, type Client } from "../../bench/client.ts";
import { playAssetStep } from "./asset-scenarios.ts";
import { captureDag, pages, runPath, type DagOutcome } from "./outcome.ts";
import type { Step } from "./scenarios.ts";

/** A server with Airflow's REST API that watches a folder of DAG files: Airflow itself or Leoflow. */
export interface Target {
  client: Client;
  /** Where later versions of some DAG files are. */
  versions: string;
  /** Its folder of DAG files. */
  folder: string;
  pollMs: number;
  /** How many scenarios run at the same time. */
  concurrency: number;
  scenario: (dagId: string) => readonly Step[];
  /** How long nothing must have happened to a run that is expected to stand still. */
  quietMs: number;
  note(text: string): void;
}

/** DAGs that another starts or watches. */
const NEEDS: Readonly<Record<string, string[]>> = {
  trigger_no_wait: ["child"],
  trigger_wait: ["child"],
  trigger_twice: ["child"],
  trigger_reset: ["child"],
  trigger_dated: ["child"],
  trigger_deferrable: ["child"],
  trigger_mapped: ["child"],
  trigger_confs: ["child"],
  trigger_refused: ["run_types_scheduled_only", "params_required"],
  external_sensors: ["external_upstream"],
  external_more: ["external_upstream"],
  marker_parent: ["marker_child"],
  example_trigger_controller_dag: ["example_trigger_target_dag"],
};

/** For what becomes of runs of DAGs that are paused. */
const STAYS_PAUSED = "never_unpaused";

/** Plays the scenarios of these DAGs and tells what came of each. */
export async function drive(
  target: Target,
  dagIds: readonly string[],
  seconds: number,
  onOutcome: (outcome: DagOutcome) => void,
): Promise<void> {
  const { client } = target;
  await client.call("POST", "/api/v2/pools", { name: "two_slots", slots: 2 });
  await client.call("POST", "/api/v2/variables", { key: "conformance", value: '{"greeting": "hello"}' });
  await client.call("POST", "/api/v2/connections", { connection_id: "files", conn_type: "fs" });
  // Assets that are updated from another's scenario must find those that wait for them.
  await each(dagIds, 4, async (dagId) => (dagId === STAYS_PAUSED ? undefined : client.unpause(dagId)));
  const watch = new Watch(target, Date.now() + seconds * 1000);
  const atTheEnd: string[] = [];
  await each(dagIds, target.concurrency, async (dagId) => {
    const steps = target.scenario(dagId);
    try {
      for (const id of NEEDS[dagId] ?? []) await client.unpause(id);
      for (const step of steps) await play(target, watch, dagId, step);
    } catch (error) {
      target.note(`${dagId}: ${String(error)}`);
    }
    if (steps.length === 0 || steps.some((step) => "stuck" in step && step.stuck)) atTheEnd.push(dagId);
    else onOutcome(await captureDag(client, dagId));
  });
  if (atTheEnd.length > 0) await sleep(target.quietMs);
  await each(atTheEnd, 4, async (dagId) => onOutcome(await captureDag(client, dagId)));
}

async function play(target: Target, watch: Watch, dagId: string, step: Step): Promise<void> {
  const { client } = target;
  switch (step.kind) {
    case "trigger": {
      const { runId, conf = {}, logicalDate = null, stuck } = step;
      const body = { dag_run_id: runId, conf, logical_date: logicalDate };
      await client.call("POST", `/api/v2/dags/${dagId}/dagRuns`, body);
      return stuck ? undefined : watch.idle(dagId);
    }
    case "runs":
      return watch.finished(dagId, step.count, step.stuck ?? false);
    case "clear": {
      const body = { dry_run: false, reset_dag_runs: true, only_failed: false, ...step.body };
      await client.call("POST", `/api/v2/dags/${dagId}/clearTaskInstances`, body);
      return step.stuck ? undefined : watch.idle(dagId);
    }
    case "mark": {
      const { runId, taskId, mapIndex, state } = step;
      const item = mapIndex === undefined ? "" : `/${mapIndex}`;
      await client.call("PATCH", `${runPath(dagId, runId)}/taskInstances/${taskId}${item}`, {
        new_state: state,
        ...step.options,
      });
      return watch.idle(dagId);
    }
    case "clear-run":
      await client.call("POST", `${runPath(dagId, step.runId)}/clear`, { dry_run: false, ...step.body });
      return watch.idle(dagId);
    case "mark-run":
      await client.call("PATCH", runPath(dagId, step.runId), { state: step.state });
      return step.stuck ? undefined : watch.idle(dagId);
    case "until-state":
      return watch.until(`${dagId}.${step.taskId} is ${step.state}`, async () => {
        const path = `${runPath(dagId, step.runId)}/taskInstances`;
        const found = await pages<{ task_id: string; state: string }>(client, path, "task_instances");
        return found.some((ti) => ti.task_id === step.taskId && ti.state === step.state);
      });
    case "new-version": {
      const count = () => versionCount(client, dagId);
      const before = await count();
      copyFileSync(
        join(target.versions, step.file),
        join(target.folder, basename(step.file).replace(/\.v\d+\.py$/, ".py")),
      );
      return watch.until(`${dagId} has a new version`, async () => (await count()) > before);
    }
    default:
      return playAssetStep(client, dagId, step, watch);
  }
}

async function versionCount(client: Client, dagId: string): Promise<number> {
  const answer = (await client.call("GET", `/api/v2/dags/${dagId}/dagVersions`)) as { total_entries: number };
  return answer.total_entries;
}

/** One look at all unfinished runs serves all that wait. */
class Watch {
  readonly #target: Target;
  readonly #deadline: number;
  #next: Promise<ReadonlySet<string>> | null = null;

  constructor(target: Target, deadline: number) {
    this.#target = target;
    this.#deadline = deadline;
  }

  /** All runs of the DAG have ended. */
  idle(dagId: string): Promise<void> {
    return this.until(`${dagId} has ended`, () => this.#isIdle(dagId));
  }

  finished(dagId: string, count: number, others: boolean): Promise<void> {
    return this.until(`${dagId} has ${count} finished runs`, async () => {
      if (!others && !(await this.#isIdle(dagId))) return false;
      const { total_entries: total } = (await this.#target.client.call(
        "GET",
        `/api/v2/dags/${dagId}/dagRuns?state=success&state=failed&limit=1`,
      )) as { total_entries: number };
      return total >= count;
    });
  }

  async until(what: string, condition: () => Promise<boolean>): Promise<void> {
    while (!(await condition())) {
      if (Date.now() > this.#deadline) throw new Error(`not in time: ${what}`);
      await sleep(this.#target.pollMs);
    }
  }

  /** The look at all, in pages while runs end, may miss some: before it is believed the DAG is asked itself. */
  async #isIdle(dagId: string): Promise<boolean> {
    if ((await this.#unfinished()).has(dagId)) return false;
    const path = `/api/v2/dags/${dagId}/dagRuns?state=queued&state=running&limit=1`;
    const { total_entries: open } = (await this.#target.client.call("GET", path)) as { total_entries: number };
    return open === 0;
  }

  /** Begun after the call, so that it sees what the caller did before. */
  #unfinished(): Promise<ReadonlySet<string>> {
    this.#next ??= sleep(this.#target.pollMs).then(async () => {
      this.#next = null;
      const path = "/api/v2/dags/~/dagRuns?state=queued&state=running&order_by=id";
      const runs = await pages<{ dag_id: string }>(this.#target.client, path, "dag_runs");
      return new Set(runs.map((run) => run.dag_id));
    });
    return this.#next;
  }
}

/** Works through the items, some at a time. */
export async function each<T>(
  items: readonly T[],
  atATime: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: atATime }, worker));
}
