import { cpSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createLiteHome,
  processesOf,
  taskInstances,
  until,
  waitForDag,
  xcomOf,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";
import { STORY_DAGS, tellStory, type Step } from "./schedules/story.ts";

const folder = join(import.meta.dirname, "schedules");

let home: LiteHome;
let lite: Lite;
beforeAll(async () => {
  home = await createLiteHome();
  const plugins = join(home.home, "airflow/plugins");
  mkdirSync(plugins, { recursive: true });
  for (const file of readdirSync(folder)) {
    if (file.endsWith(".py"))
      cpSync(join(folder, file), join(file === "timetables.py" ? plugins : home.workspace, file));
  }
  lite = await home.start();
  for (const dagId of ["every_two_seconds", "fails_on_the_second"]) await waitForDag(lite.client, dagId);
}, 120_000);
afterAll(() => home.remove(), 60_000);

interface Run {
  dag_run_id: string;
  run_type: string;
  state: string;
  conf: Record<string, unknown> | null;
  logical_date: string | null;
  data_interval_start: string | null;
  data_interval_end: string | null;
  dag_versions: { version_number: number }[];
}

interface Dag {
  timetable_summary: string;
  timetable_description: string;
  is_backfillable: boolean;
  next_dagrun_run_after: string | null;
}

interface Backfill {
  id: number;
  is_paused: boolean;
  completed_at: string | null;
}

async function runsOf(dagId: string): Promise<Run[]> {
  const answer = await lite.client.call("GET", `/api/v2/dags/${dagId}/dagRuns?order_by=logical_date&limit=100`);
  return (answer as { dag_runs: Run[] }).dag_runs;
}

const dagOf = async (dagId: string) => (await lite.client.call("GET", `/api/v2/dags/${dagId}`)) as Dag;
const ended = ({ state }: Run) => state === "success" || state === "failed";
/** "01-02 success backfill", by date. */
const states = async (dagId: string) =>
  (await runsOf(dagId)).map(
    ({ logical_date: date, state, run_type: type }) => `${date?.slice(5, 10)} ${state} ${type}`,
  );

async function warnings(): Promise<Map<string, string>> {
  const answer = (await lite.client.call("GET", "/api/v2/dagWarnings")) as {
    dag_warnings: { dag_id: string; message: string }[];
  };
  return new Map(answer.dag_warnings.map(({ dag_id: dagId, message }) => [dagId, message]));
}

/** Last lines, by file. */
async function importErrors(): Promise<Map<string, string | undefined>> {
  const answer = (await lite.client.call("GET", "/api/v2/importErrors")) as {
    import_errors: { filename: string; stack_trace: string }[];
  };
  return new Map(
    answer.import_errors.map(({ filename, stack_trace: trace }) => [filename, trace.trim().split("\n").at(-1)]),
  );
}

it("the story comes out as Airflow's", async () => {
  for (const dagId of STORY_DAGS) await waitForDag(lite.client, dagId);
  const theirs = JSON.parse(readFileSync(join(folder, "story.json"), "utf8")) as Step[];
  const ours = await tellStory(lite.client, { pollMs: 20, patienceMs: 60_000 });
  expect(ours.map(({ step }) => step)).toEqual(theirs.map(({ step }) => step));
  // As JSON: what has no value there has none.
  const plain = JSON.parse(JSON.stringify(ours)) as Step[];
  for (const [at, { step, came }] of theirs.entries()) expect(plain[at]?.came, step).toEqual(came);
});

describe("timetables of a user's own", () => {
  it("make runs at their times, each asked in a process of its own", async () => {
    const dag = await dagOf("every_two_seconds");
    expect(dag).toMatchObject({
      timetable_summary: "2 s",
      timetable_description: "Every two seconds",
      is_backfillable: true,
    });
    await lite.client.unpause("every_two_seconds");
    const done = async () => (await runsOf("every_two_seconds")).filter(ended);
    await until("three runs have ended", async () => (await done()).length >= 3);
    await lite.client.call("PATCH", "/api/v2/dags/every_two_seconds", { is_paused: true });
    const [first, second] = await done();
    expect(first).toMatchObject({ state: "success", run_type: "scheduled", conf: {} });
    expect(first?.dag_run_id).toMatch(/^scheduled__every_two_\d{6}$/);
    expect(second?.data_interval_start).toBe(first?.data_interval_end);
    const said = await xcomOf(lite.client, "every_two_seconds", first?.dag_run_id ?? "", "say");
    expect(String(said).slice(0, 19)).toBe(first?.data_interval_start?.slice(0, 19).replace("T", " "));
    const pids = new Set(
      readFileSync(join(dirname(home.workspace), "asked"), "utf8")
        .split("\n")
        .map(Number),
    );
    for (const { pid, command } of processesOf(home.home)) {
      if (!command.startsWith("leoflow timetable")) expect(pids).not.toContain(pid);
    }
  });

  it("give manual runs their data interval and id", async () => {
    const body = { logical_date: "2026-02-03T12:00:00Z", run_after: "2026-02-03T12:30:00Z" };
    const run = (await lite.client.call("POST", "/api/v2/dags/every_two_seconds/dagRuns", body)) as Run;
    expect(run).toMatchObject({
      dag_run_id: "manual__every_two_123000",
      data_interval_start: "2026-02-03T11:00:00Z",
      data_interval_end: "2026-02-03T12:00:00Z",
    });
  });

  it("that raise or never answer tell why, and hold up no other DAG", async () => {
    for (const dagId of ["hanging", "raising", "workdays"]) await lite.client.unpause(dagId);
    // The four days of work after New Year's Day 2026, a Thursday, and the next week's; two runs at a time.
    await until("all workdays have run", async () => (await runsOf("workdays")).filter(ended).length === 8);
    expect((await states("workdays")).map((text) => text.slice(0, 5))).toEqual([
      "01-01",
      "01-02",
      "01-05",
      "01-06",
      "01-07",
      "01-08",
      "01-09",
      "01-12",
    ]);
    await until("the hanging one was ended", async () => (await warnings()).has("hanging"));
    expect((await warnings()).get("hanging")).toMatch(
      /^The timetable named no next run: timetables\.Hanging gave no answer within 15 s and was ended/,
    );
    expect((await warnings()).get("raising")).toMatch(/RuntimeError: no calendar for this year\n\nTraceback/);
    for (const dagId of ["hanging", "raising"]) {
      expect((await dagOf(dagId)).next_dagrun_run_after).toBeNull();
      expect(await runsOf(dagId)).toEqual([]);
    }
    expect(lite.output()).toContain(
      "the timetable of raising named no next run: RuntimeError: no calendar for this year",
    );
    // Both can be run by hand.
    const { dag_run_id: runId } = (await lite.client.call("POST", "/api/v2/dags/raising/dagRuns", {
      logical_date: null,
    })) as Run;
    await until(
      "a run by hand ends",
      async () => (await runsOf("raising")).find((run) => run.dag_run_id === runId)?.state === "success",
    );
  });

  it("are asked anew when their plugin was mended", async () => {
    const plugin = join(home.home, "airflow/plugins/timetables.py");
    const mended = readFileSync(plugin, "utf8").replace(
      'raise RuntimeError("no calendar for this year")',
      "return None",
    );
    writeFileSync(plugin, mended.replace("only for the northern hemisphere", "only for the southern hemisphere"));
    await until("the warning is gone", async () => !(await warnings()).has("raising"));
    await until("files that do not parse are parsed again", async () =>
      String([...(await importErrors()).values()]).includes("southern hemisphere"),
    );
  });

  it("and crons that make no sense are import errors, as on Airflow", async () => {
    const errors = await importErrors();
    expect([...errors.keys()].sort()).toEqual(["invalid_cron.py", "invalid_timetable.py", "unregistered.py"]);
    expect(errors.get("invalid_cron.py")).toMatch(
      /AirflowTimetableInvalid: \[61 \* \* \* \*\] is not acceptable, out of range$/,
    );
    expect(errors.get("invalid_timetable.py")).toMatch(/AirflowTimetableInvalid: only for the southern hemisphere$/);
    expect(errors.get("unregistered.py")).toMatch(/Timetable class '.*\.OfThisFile' is not registered/);
  });
});

describe("backfills", () => {
  const range = { from_date: "2026-01-01T00:00:00Z", to_date: "2026-01-03T00:00:00Z" };
  const create = async (dagId: string, more: object = {}) =>
    (await lite.client.call("POST", "/api/v2/backfills", { dag_id: dagId, ...range, ...more })) as Backfill;
  const find = async (id: number) => (await lite.client.call("GET", `/api/v2/backfills/${id}`)) as Backfill;
  const complete = (id: number) =>
    until("the backfill is complete", async () => (await find(id)).completed_at !== null);
  const dryRun = async (dagId: string, more: object = {}) => {
    const answer = (await lite.client.call("POST", "/api/v2/backfills/dry_run", {
      dag_id: dagId,
      ...range,
      ...more,
    })) as {
      backfills: { logical_date: string }[];
    };
    return answer.backfills.map(({ logical_date: date }) => date.slice(5, 10));
  };

  it("run again what they are told to, on the version they are told to", async () => {
    const dagId = "fails_on_the_second";
    await lite.client.unpause(dagId);
    await complete((await create(dagId)).id);
    const past = async () => (await states(dagId)).filter((text) => text.startsWith("01-0"));
    expect(await past()).toEqual(["01-01 success backfill", "01-02 failed backfill", "01-03 success backfill"]);
    expect(await dryRun(dagId)).toEqual([]);
    expect(await dryRun(dagId, { reprocess_behavior: "failed" })).toEqual(["01-02"]);
    expect(await dryRun(dagId, { reprocess_behavior: "completed" })).toEqual(["01-01", "01-02", "01-03"]);

    // The same code: it fails again.
    await complete((await create(dagId, { reprocess_behavior: "failed" })).id);
    expect(await past()).toEqual(["01-01 success backfill", "01-02 failed backfill", "01-03 success backfill"]);
    const tries = async (day: number) => {
      const runId = (await runsOf(dagId))[day - 1]?.dag_run_id ?? "";
      return (await taskInstances(lite.client, dagId, runId))
        .map(({ task_id: task, try_number: number }) => `${task} ${number}`)
        .sort();
    };
    expect(await tries(2)).toEqual(["fails_on_the_second 2", "say 0"]);
    expect(await tries(1)).toEqual(["fails_on_the_second 1", "say 1"]);

    const file = join(home.workspace, "backfills.py");
    writeFileSync(file, readFileSync(file, "utf8").replace("!= 2,", "!= 9,"));
    await until("the new version is there", async () => {
      const answer = (await lite.client.call("GET", `/api/v2/dags/${dagId}/dagVersions`)) as { total_entries: number };
      return answer.total_entries === 2;
    });
    await complete((await create(dagId, { reprocess_behavior: "failed", run_on_latest_version: false })).id);
    expect((await past())[1]).toBe("01-02 failed backfill");
    await complete((await create(dagId, { reprocess_behavior: "completed", to_date: "2026-01-04T00:00:00Z" })).id);
    expect(await past()).toEqual([1, 2, 3, 4].map((day) => `01-0${day} success backfill`));
    expect(await tries(2)).toEqual(["fails_on_the_second 4", "say 1"]);
    expect(await tries(1)).toEqual(["fails_on_the_second 2", "say 2"]);
    expect((await runsOf(dagId))[1]?.dag_versions.map((version) => version.version_number)).toContain(2);
  });

  it("wait when paused, and end when cancelled", async () => {
    const dagId = "waits";
    const path = join(dirname(home.workspace), "go");
    const put = (id: number, verb: string) => lite.client.call("PUT", `/api/v2/backfills/${id}/${verb}`);
    const made = await create(dagId, { max_active_runs: 1, dag_run_conf: { path } });
    await expect(create(dagId)).rejects.toThrow(/409.*There is already a running backfill for dag waits/s);
    await put(made.id, "pause");
    await lite.client.unpause(dagId);
    const past = async () =>
      (await states(dagId)).filter((text) => text.startsWith("01-0")).map((text) => text.slice(6, -9));
    await put(made.id, "unpause");
    await until("the first runs", async () => (await past())[0] === "running");
    expect(await past()).toEqual(["running", "queued", "queued"]);
    await put(made.id, "pause");
    writeFileSync(path, "");
    await until("the first ends", async () => (await past())[0] === "success");
    expect(await past()).toEqual(["success", "queued", "queued"]);
    await put(made.id, "cancel");
    expect(await past()).toEqual(["success", "failed", "failed"]);
    await expect(put(made.id, "unpause")).rejects.toThrow(/409.*Backfill is already completed/s);
    // A second one finds what the first left behind.
    await complete((await create(dagId, { reprocess_behavior: "failed", dag_run_conf: { path } })).id);
    expect(await past()).toEqual(["success", "success", "success"]);
  });
});
