import { sleep, type Client } from "../../../bench/client.ts";
import { runPath } from "../../conformance/outcome.ts";
import { nameOf, stateOf, taskInstancesOf, xcomsOf, type TaskInstance } from "../outcome.ts";

/** What is done with a DAG after it was triggered. */
type Act =
  | {
      act: "answer";
      task?: string;
      mapIndex?: number;
      chosen: string[];
      params?: Record<string, unknown>;
      early?: true;
    }
  | { act: "clear" }
  | { act: "mark"; state: string };

const answer = (chosen: string | string[], more: Partial<Extract<Act, { act: "answer" }>> = {}): Act => ({
  act: "answer",
  chosen: typeof chosen === "string" ? [chosen] : chosen,
  ...more,
});

/** The DAGs of people.py and tries.py, and what people do. */
export const SCENARIOS: Record<string, readonly Act[]> = {
  people_choose: [answer("b", { task: "one", params: { n: 5, s: "y" } })],
  people_choose_several: [answer(["a", "c"], { task: "several" })],
  people_approve: [answer("Approve")],
  people_reject: [answer("Reject")],
  people_reject_fails: [answer("Reject")],
  people_reject_all: [answer("Reject")],
  people_branch: [answer(["Go right", "on"], { task: "branch" })],
  people_enter: [answer("OK", { task: "form", params: { name: "n", count: 3, list: [2, "x"] } })],
  people_enter_invalid: [answer("OK", { task: "form", params: { count: -1 } })],
  people_time_out: [],
  people_time_out_default: [],
  people_time_out_retry: [],
  people_notified: [],
  people_notify_fails: [],
  people_mapped: [answer("a", { mapIndex: 1 }), answer("b", { mapIndex: 0 })],
  people_cleared: [answer("a"), { act: "clear" }, answer("b")],
  people_while_it_runs: [answer("a", { early: true })],
  people_by_trigger: [answer("a", { params: { n: 2.5 } })],
  people_by_trigger_late: [],
  people_marked: [{ act: "mark", state: "success" }],
  tries_rules: [],
  tries_custom: [],
  tries_mapped: [],
};

export interface PeopleOutcome {
  state: string;
  /** `task[map index]` → "state try/max tries", its XComs, and what people were asked in each try. */
  tasks: Record<string, { state: string; xcoms?: Record<string, unknown>; asked?: Record<string, unknown> }>;
}

/**
 * Does what people do, and waits for the run's end. `thinkMs`: how long people think; Airflow fails a task that is answered
 * before its scheduler has heard that the process which asked has ended.
 */
export async function play(
  client: Client,
  dag: string,
  run: string,
  { pauseMs, thinkMs }: { pauseMs: number; thinkMs: number },
): Promise<PeopleOutcome> {
  const path = runPath(dag, run);
  const until = async (what: string, condition: () => Promise<boolean>): Promise<void> => {
    const end = Date.now() + 300_000;
    while (!(await condition())) {
      if (Date.now() > end) throw new Error(`${dag}: not in time: ${what}`);
      await sleep(pauseMs);
    }
  };
  const ended = async (): Promise<boolean> => {
    const { state } = (await client.call("GET", path)) as { state: string };
    return state === "success" || state === "failed";
  };
  for (const act of SCENARIOS[dag] ?? []) {
    if (act.act === "clear") {
      await until("its end before it is cleared", ended);
      await client.call("POST", `/api/v2/dags/${dag}/clearTaskInstances`, {
        dry_run: false,
        dag_run_id: run,
        only_failed: false,
        reset_dag_runs: true,
      });
      continue;
    }
    const task = (act.act === "answer" && act.task) || "asks";
    const mapIndex = (act.act === "answer" && act.mapIndex) || 0;
    const early = act.act === "answer" && act.early;
    await until("it asks", async () => {
      const { hitl_details: asked } = (await client.call("GET", `${path}/hitlDetails?response_received=false`)) as {
        hitl_details: { task_instance: TaskInstance }[];
      };
      return asked.some(
        ({ task_instance: ti }) =>
          ti.task_id === task &&
          (ti.map_index === -1 || ti.map_index === mapIndex) &&
          (early ? ti.state === "running" : ti.state === "awaiting_input" || ti.state === "deferred"),
      );
    });
    if (!early) await sleep(thinkMs);
    if (act.act === "mark") {
      await client.call("PATCH", `${path}/taskInstances/${task}`, { new_state: act.state });
      continue;
    }
    const { chosen, params = {} } = act;
    await client.call("PATCH", `${path}/taskInstances/${task}/${act.mapIndex ?? -1}/hitlDetails`, {
      chosen_options: chosen,
      params_input: params,
    });
  }
  await until("its end", ended);
  return await outcomeOf(client, dag, run);
}

async function outcomeOf(client: Client, dag: string, run: string): Promise<PeopleOutcome> {
  const path = runPath(dag, run);
  const { state } = (await client.call("GET", path)) as { state: string };
  const outcome: PeopleOutcome = { state, tasks: {} };
  for (const ti of await taskInstancesOf(client, path)) {
    const pushed = Object.entries(await xcomsOf(client, path, ti));
    const xcoms = Object.fromEntries(pushed.map(([key, value]) => [key, withoutWhoAndWhen(value)]));
    const asked = await askedOf(client, path, ti);
    outcome.tasks[nameOf(ti)] = {
      state: stateOf(ti),
      ...(Object.keys(xcoms).length > 0 ? { xcoms } : {}),
      ...(Object.keys(asked).length > 0 ? { asked } : {}),
    };
  }
  return outcome;
}

/** What a branch leaves behind: in the order of a Python set. */
const SETS = new Set(["skipped", "followed"]);

/** Who answers, and when, differs from run to run. */
function withoutWhoAndWhen(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const plain = ([key, item]: [string, unknown]): [string, unknown] => {
    if (key === "responded_at" || (key === "responded_by_user" && item)) return [key, "…"];
    return [key, SETS.has(key) ? [...(item as string[])].sort() : item];
  };
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(plain),
  );
}

async function askedOf(client: Client, path: string, ti: TaskInstance): Promise<Record<string, unknown>> {
  const asked: Record<string, unknown> = {};
  for (let attempt = 1; attempt <= ti.try_number; attempt++) {
    const address = `${path}/taskInstances/${ti.task_id}/${ti.map_index}/hitlDetails/tries/${attempt}`;
    const detail = (await client.call("GET", address).catch(() => null)) as Record<string, unknown> | null;
    if (!detail) continue;
    const { subject, body, options, defaults, multiple, params, chosen_options, params_input, response_received } =
      detail;
    asked[attempt] = {
      subject,
      body,
      options,
      defaults,
      multiple,
      params,
      chosen_options,
      params_input,
      response_received,
    };
  }
  return asked;
}
