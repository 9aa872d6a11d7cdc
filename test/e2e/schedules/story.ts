import { sleep, type Client } from "../../../bench/client.ts";

/** What one step of the story came to; ids and times of the telling are left out. */
export interface Step {
  step: string;
  came: unknown;
}

export const STORY_DAGS = [
  "story_past",
  "story_depends",
  "story_once",
  "story_not_backwards",
  "story_dst",
  "story_workdays",
  "story_workdays_to_come",
  "story_raising",
] as const;

interface Run {
  dag_run_id: string;
  run_type: string;
  state: string;
  logical_date: string | null;
  data_interval_start: string | null;
  data_interval_end: string | null;
  run_after: string;
  triggered_by: string;
  conf: unknown;
}

interface Backfill {
  id: number;
  completed_at: string | null;
  is_paused: boolean;
}

const JANUARY = { from_date: "2026-01-01T00:00:00Z", to_date: "2026-01-03T00:00:00Z" };

/** Tells a server with Airflow's REST API the same story as any other, step by step. */
export async function tellStory(
  client: Client,
  { pollMs, patienceMs, onStep }: { pollMs: number; patienceMs: number; onStep?: (step: Step) => void },
): Promise<Step[]> {
  const steps: Step[] = [];
  const came = (step: string, what: unknown) => {
    steps.push({ step, came: what });
    onStep?.({ step, came: what });
  };
  const told = async (step: string, what: Promise<unknown>) =>
    came(step, await what.then(withoutTellingTime, refusalOf));
  const until = async (what: string, condition: () => Promise<boolean>) => {
    for (const end = Date.now() + patienceMs; !(await condition()); await sleep(pollMs)) {
      if (Date.now() > end) throw new Error(`the story waits for ever: ${what}`);
    }
  };
  const create = (dagId: string, more: object = {}) =>
    client.call("POST", "/api/v2/backfills", { dag_id: dagId, ...JANUARY, ...more });
  const dryRun = async (dagId: string, more: object = {}) => {
    const answer = await client.call("POST", "/api/v2/backfills/dry_run", { dag_id: dagId, ...JANUARY, ...more });
    return (answer as { backfills: { logical_date: string }[] }).backfills.map(({ logical_date: date }) => date);
  };
  const backfill = async (id: number) => (await client.call("GET", `/api/v2/backfills/${id}`)) as Backfill;
  const put = (id: number, verb: string) => client.call("PUT", `/api/v2/backfills/${id}/${verb}`);
  const complete = (id: number) =>
    until(`backfill ${id} is complete`, async () => (await backfill(id)).completed_at !== null);
  const runsOf = (dagId: string) => runs(client, dagId);
  const pause = (dagId: string, isPaused: boolean) =>
    client.call("PATCH", `/api/v2/dags/${dagId}?update_mask=is_paused`, { is_paused: isPaused });
  const allEnded = (dagId: string, count: number) =>
    until(`${count} runs of ${dagId} have ended`, async () => {
      const found = await runsOf(dagId);
      return found.length >= count && found.every(({ state }) => state === "success" || state === "failed");
    });
  const outcome = async (dagId: string) => {
    const found = [];
    for (const run of await runsOf(dagId)) found.push({ ...whatMatters(run), tasks: await tasks(client, dagId, run) });
    return found;
  };
  const nextRun = async (dagId: string) => {
    const dag = (await client.call("GET", `/api/v2/dags/${dagId}`)) as Record<string, unknown>;
    return Object.fromEntries(
      Object.entries(dag).filter(([name]) => /^(next_dagrun|timetable_|is_backfillable)/.test(name)),
    );
  };

  // What is refused.
  const refused: Record<string, object> = {
    "an unknown DAG": { dag_id: "story_unknown" },
    "dates the wrong way round": { from_date: JANUARY.to_date, to_date: JANUARY.from_date },
    "the future": { from_date: "2126-01-01T00:00:00Z", to_date: "2126-01-02T00:00:00Z" },
    "no run in between": { from_date: "2026-01-01T01:00:00Z", to_date: "2026-01-01T02:00:00Z" },
    "a conf that the params refuse": { dag_run_conf: { who: 5 } },
    "a schedule without times": { dag_id: "story_once" },
    "a run type that is not allowed": { dag_id: "story_not_backwards" },
    "no reprocessing of what depends on its past": { dag_id: "story_depends" },
    "backwards where it depends on its past": {
      dag_id: "story_depends",
      run_backwards: true,
      reprocess_behavior: "failed",
    },
    "an unknown behaviour": { reprocess_behavior: "some" },
    "a field nobody knows": { colour: "red" },
  };
  for (const [what, more] of Object.entries(refused)) {
    await told(`refuses ${what}`, create("story_past", more));
    await told(`refuses to try ${what}`, dryRun("story_past", more));
  }
  for (const verb of ["pause", "unpause", "cancel"]) await told(`finds nothing to ${verb}`, put(999_999, verb));
  await told("finds no backfill", backfill(999_999));

  // A backfill of a paused DAG waits.
  came("tries", await dryRun("story_past"));
  const first = (await create("story_past", {
    dag_run_conf: { who: "you", n: 60.5 },
    run_backwards: true,
    max_active_runs: 2,
  })) as Backfill;
  came("makes", withoutTellingTime(first));
  await told("refuses a second one", create("story_past"));
  came("shows it", withoutTellingTime(await client.call("GET", "/ui/backfills?dag_id=story_past&active=true")));
  came("has queued", (await runsOf("story_past")).map(whatMatters));
  came("pauses", withoutTellingTime(await put(first.id, "pause")));
  came("unpauses", withoutTellingTime(await put(first.id, "unpause")));
  await pause("story_past", false);
  await complete(first.id);
  came("has run", await outcome("story_past"));
  await told("refuses to cancel what is complete", put(first.id, "cancel"));
  came("shows it no more", withoutTellingTime(await client.call("GET", "/ui/backfills?dag_id=story_past&active=true")));

  // Again.
  for (const behavior of ["none", "failed", "completed"]) {
    came(`would reprocess ${behavior}`, await dryRun("story_past", { reprocess_behavior: behavior }));
  }
  await told(
    "makes none anew",
    create("story_past").then((made) => complete((made as Backfill).id)),
  );
  came("has still", await outcome("story_past"));
  const failed = (await create("story_past", { reprocess_behavior: "failed" })) as Backfill;
  await complete(failed.id);
  came("has run the failed again", await outcome("story_past"));
  const all = (await create("story_past", {
    reprocess_behavior: "completed",
    dag_run_conf: { who: "all" },
  })) as Backfill;
  await complete(all.id);
  came("has run all again", await outcome("story_past"));

  // Cancelled.
  await pause("story_past", true);
  const more = { from_date: "2026-01-03T00:00:00Z", to_date: "2026-01-05T00:00:00Z", reprocess_behavior: "completed" };
  const cancelled = (await create("story_past", more)) as Backfill;
  came("has queued, some of it again", await outcome("story_past"));
  came("cancels", withoutTellingTime(await put(cancelled.id, "cancel")));
  came("has failed what was queued", await outcome("story_past"));

  // What depends on its past stops where it fails.
  await pause("story_depends", false);
  const depends = (await create("story_depends", { reprocess_behavior: "failed" })) as Backfill;
  await until("the second has failed", async () => (await runsOf("story_depends"))[1]?.state === "failed");
  came(
    "stops at what failed",
    (await outcome("story_depends")).map(({ tasks }) => tasks),
  );
  came("is not complete", (await backfill(depends.id)).completed_at);
  await put(depends.id, "cancel");

  // Schedules.
  for (const [dagId, count] of [
    ["story_dst", 4],
    ["story_workdays", 6],
    ["story_workdays_to_come", 0],
  ] as const) {
    came(`next run of ${dagId}`, await nextRun(dagId));
    await pause(dagId, false);
    await allEnded(dagId, count);
    if (count > 0) {
      await until(`${dagId} has no next run`, async () => (await nextRun(dagId))["next_dagrun_run_after"] === null);
    }
    came(`runs of ${dagId}`, await outcome(dagId));
    came(`next run of ${dagId} then`, await nextRun(dagId));
  }
  came("next run of story_raising", await nextRun("story_raising"));
  came("tries a timetable that raises", await dryRun("story_raising"));
  came("tries a user's own", await dryRun("story_workdays_to_come", { to_date: "2026-01-12T00:00:00Z" }));
  const own = (await create("story_workdays_to_come", { to_date: "2026-01-06T00:00:00Z" })) as Backfill;
  await complete(own.id);
  came("has run a user's own", await outcome("story_workdays_to_come"));
  const manual = { logical_date: "2026-02-03T12:00:00Z", run_after: "2026-02-03T12:30:00Z" };
  for (const dagId of ["story_workdays", "story_dst"]) {
    came(
      `runs ${dagId} by hand`,
      whatMatters((await client.call("POST", `/api/v2/dags/${dagId}/dagRuns`, manual)) as Run),
    );
  }
  return steps;
}

async function runs(client: Client, dagId: string): Promise<Run[]> {
  const answer = await client.call("GET", `/api/v2/dags/${dagId}/dagRuns?order_by=logical_date&limit=100`);
  return (answer as { dag_runs: Run[] }).dag_runs;
}

function whatMatters(run: Run) {
  const { dag_run_id, run_type, state, logical_date, data_interval_start, data_interval_end } = run;
  const { run_after, triggered_by, conf } = run;
  return {
    dag_run_id,
    run_type,
    state,
    logical_date,
    data_interval_start,
    data_interval_end,
    run_after,
    triggered_by,
    conf,
  };
}

async function tasks(client: Client, dagId: string, run: Run): Promise<unknown[]> {
  const path = `/api/v2/dags/${dagId}/dagRuns/${encodeURIComponent(run.dag_run_id)}/taskInstances`;
  const answer = (await client.call("GET", path)) as {
    task_instances: { task_id: string; state: string | null; try_number: number; max_tries: number }[];
  };
  const found = [];
  const byName = answer.task_instances.sort((a, b) => (a.task_id < b.task_id ? -1 : 1));
  for (const { task_id: task, state, try_number: tries, max_tries: most } of byName) {
    const value = task === "say" && state === "success" ? [await xcom(client, dagId, run, task)] : [];
    found.push([task, state, tries, most, ...value]);
  }
  return found;
}

async function xcom(client: Client, dagId: string, run: Run, task: string): Promise<unknown> {
  const path = `/api/v2/dags/${dagId}/dagRuns/${encodeURIComponent(run.dag_run_id)}/taskInstances/${task}`;
  const entry = await client.call("GET", `${path}/xcomEntries/return_value?map_index=-1&deserialize=true`);
  return (entry as { value: unknown }).value;
}

const TELLING_TIME = new Set(["id", "created_at", "updated_at"]);

/** Without ids and times; of a completion only whether there was one. */
function withoutTellingTime(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutTellingTime);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => !TELLING_TIME.has(name))
      .map(([name, item]) => [name, name === "completed_at" ? item !== null : withoutTellingTime(item)]),
  );
}

function refusalOf(error: unknown): unknown {
  const [, status, text = ""] = /: (\d{3}) (.*)$/s.exec(String(error)) ?? [];
  if (status === undefined) throw error;
  try {
    return { status: Number(status), ...(JSON.parse(text) as object) };
  } catch {
    return { status: Number(status), text };
  }
}
