import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cli, shapeOf, shapes, splitLine } from "../support/cli.ts";
import {
  ADMIN,
  createLiteHome,
  PASSWORD,
  taskInstances,
  triggerDag,
  until,
  waitForDag,
  waitForRun,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";

let home: LiteHome;
let lite: Lite;
let cli: Cli;
let release: string;

const DAGS = (file: string) => `
import os, time
from datetime import datetime
from airflow.sdk import Asset, dag, task

@dag(schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False, tags=["daily"], default_args={"owner": "ann"})
def shop():
    @task
    def numbers(): return [1, 2]
    @task
    def double(x):
        print("doubling", x)
        return 2 * x
    @task
    def total(values): print("total", sum(values))
    total(double.expand(x=numbers()))
shop()

@dag(schedule=None)
def broken():
    @task
    def fails(): raise ValueError("no luck")
    fails()
broken()

@dag(schedule=None)
def slow():
    @task
    def holds():
        print("holding", flush=True)
        while not os.path.exists(${JSON.stringify(file)}): time.sleep(0.05)
        print("let go", flush=True)
    holds()
slow()

@dag(schedule=None)
def makes():
    @task(outlets=[Asset("file:///tmp/made")])
    def make(): ...
    make()
makes()

@dag(schedule=None)
def to_delete():
    @task
    def nothing(): ...
    nothing()
to_delete()
`;

beforeAll(async () => {
  home = await createLiteHome();
  lite = await home.start();
  cli = new Cli(home, lite);
  release = join(cli.files, "release");
  writeFileSync(join(home.workspace, "shop.py"), DAGS(release));
  await Promise.all(["shop", "broken", "slow", "makes", "to_delete"].map((dag) => waitForDag(lite.client, dag)));
});
afterAll(() => home.remove());

const finished = async (dag: string, run: string, options = "") => {
  await lite.client.unpause(dag);
  await cli.good(`dags trigger ${dag} --run-id ${run} ${options}`);
  return waitForRun(lite.client, dag, run);
};

describe("dags", () => {
  it("lists, shows and pauses them", async () => {
    const [table, listed, tagged, shown, details, next, nextJson, versions, versionsJson] = await Promise.all([
      cli.good("dags list"),
      cli.json<{ dags: { dag_id: string }[]; total_entries: number }>("dags list --stale --json"),
      cli.json<{ dags: { dag_id: string }[] }>("dags list --pattern sh --tag daily --owner ann --limit 0 --json"),
      cli.good("dags show shop"),
      cli.json("dags show shop --json"),
      cli.good("dags next-run shop"),
      cli.json("dags next-run shop --json"),
      cli.good("dags versions shop"),
      cli.json<{ dag_versions: unknown[] }>("dags versions shop --limit 1 --json"),
    ]);
    expect(table).toMatch(/^DAG {2,}SCHEDULE {2,}PAUSED {2,}NEXT RUN {2,}OWNERS {2,}TAGS\n/);
    expect(table).toMatch(/^shop {2,}0 0 \* \* \* /m);
    expect(table).not.toMatch(/\t|\u001b/);
    expect(listed.dags.map(({ dag_id }) => dag_id)).toContain("broken");
    expect(tagged.dags.map(({ dag_id }) => dag_id)).toEqual(["shop"]);
    expect(shown).toMatch(/^tags +daily$/m);
    expect(details).toMatchObject({ dag_id: "shop", timetable_summary: "0 0 * * *" });
    expect(next).toMatch(/^LOGICAL DATE .*\n\d{4}-/);
    expect(nextJson).toMatchObject({ dag_id: "shop", run_after: expect.any(String) as string });
    expect(versions).toMatch(/^1 {2,}20/m);
    expect(versionsJson.dag_versions).toHaveLength(1);
    expect((await cli.leoflow("dags next-run broken")).err).toContain('the schedule of "broken" makes no further run');

    expect(await cli.good("dags pause to_delete")).toBe('"to_delete" is paused\n');
    expect(await cli.good("dags list --paused")).toMatch(/^to_delete /m);
    expect(await cli.good("dags unpause --pattern to_del")).toBe("1 DAGs are unpaused\n");
    expect(await cli.json("dags pause --pattern to_del --json")).toMatchObject({ total_entries: 1 });
    expect(await cli.json("dags unpause to_delete --json")).toMatchObject({ is_paused: false });
    expect(await cli.good("dags list --unpaused --limit 1000")).toMatch(/^to_delete /m);
    await Promise.all([
      cli.refuses("dags pause", 2, "pause needs a DAG or --pattern"),
      cli.refuses("dags pause --pattern nobody", 1, 'no DAG\'s id holds "nobody"'),
      cli.refuses("dags list --paused --unpaused", 2, "exclude each other"),
    ]);
    expect((await cli.leoflow("dags list --limit 1")).err).toMatch(/note: 1 of \d+ shown; --limit 0 shows all\n/);
  });

  it("triggers one, waits for its end, and deletes one", async () => {
    await lite.client.unpause("broken");
    const conf = join(cli.files, "conf.json");
    writeFileSync(conf, '{"from": "file"}');
    const date = "2020-01-01T00:00:00Z";
    expect(
      await cli.good(
        `dags trigger to_delete --run-id manual__1 --logical-date ${date} --note mine --conf '{"x": 1.0}' --wait`,
      ),
    ).toBe('Triggered run manual__1 for "to_delete" (state queued)\nRun manual__1 ended as success\n');
    const run = await cli.json("runs status to_delete --run manual__1 --json");
    expect(run).toMatchObject({ dag_run_id: "manual__1", note: "mine", logical_date: date, conf: { x: 1 } });
    expect(await cli.json(`dags trigger to_delete --conf-file ${conf} --wait --json`)).toMatchObject({
      state: "success",
      conf: { from: "file" },
    });
    expect(await cli.json("runs trigger to_delete --conf-file - --json", { input: '{"from": "stdin"}' })).toMatchObject(
      {
        conf: { from: "stdin" },
      },
    );
    await cli.good(
      "runs trigger to_delete --run-id manual__2 --logical-date 2020-01-02T00:00:00Z --note b --conf {} --wait",
    );
    const failed = await cli.leoflow("dags trigger broken --run-id manual__f --wait");
    expect(failed).toMatchObject({ code: 1, out: expect.stringContaining("Run manual__f ended as failed") as string });
    expect(failed.err).toContain('error: run manual__f of "broken" failed\n');
    expect(await cli.good("dags list --state failed")).toMatch(/^broken /m);

    await Promise.all([
      cli.refuses("dags trigger to_delete --conf [1]", 2, "--conf is not a JSON object"),
      cli.refuses("dags trigger to_delete --conf {", 2, "--conf is not JSON"),
      cli.refuses("dags trigger to_delete --conf {} --conf-file x", 2, "exclude each other"),
      cli.refuses("dags trigger to_delete --conf-file /nowhere", 1, "there is no file /nowhere"),
      cli.refuses("dags trigger nobody", 1, "nobody"),
      cli.refuses("dags trigger to_delete --run-id manual__1", 1, "already"),
      cli.refuses("dags trigger to_delete --logical-date soon", 1, "logical_date"),
      cli.refuses("dags delete to_delete", 2, "refusing to delete DAG to_delete and its history without --yes"),
    ]);
    expect(await cli.good("dags delete to_delete --yes")).toBe('Deleted "to_delete" and its history\n');
    await cli.refuses("runs status to_delete --run manual__1", 1, "manual__1");
  });

  it("ends with 1 where a file cannot be read", async () => {
    expect(await cli.json("dags list-import-errors --json")).toMatchObject({ total_entries: 0 });
    const file = join(home.workspace, "wrong.py");
    writeFileSync(file, "import nothing_of_that_name\nDAG = 1\n# airflow dag\n");
    try {
      await until("it was tried", async () => (await cli.leoflow("dags list-import-errors")).code === 1);
      const { out, err } = await cli.leoflow("dags list-import-errors");
      expect(out).toContain("No module named 'nothing_of_that_name'");
      expect(err).toContain("error: 1 DAG file cannot be read\n");
    } finally {
      rmSync(file);
    }
  });
});

describe("runs and tasks", () => {
  it("lists and shows them, mapped ones too, and prints their logs", async () => {
    await finished("shop", "manual__r");
    await lite.client.unpause("broken");
    await cli.leoflow("dags trigger broken --run-id manual__log --wait");
    const run = "shop manual__r";
    expect(await cli.good("why shop manual__r double --map-index 1")).toContain("ended as success");
    expect(await cli.json("why shop --json")).toMatchObject({ dag_id: "shop" });
    const [list, all, states, some, show, one, logs, attempt, trace, tasks, taskList, own] = await Promise.all([
      cli.good("runs list --dag shop"),
      cli.json<{ dag_runs: unknown[] }>("runs list --state success --state failed --older-than 0s --limit 0 --json"),
      cli.good(`tasks states ${run}`),
      cli.json<{ task_instances: { map_index: number }[] }>(
        `tasks states ${run} --state success --task double --limit 0 --json`,
      ),
      cli.good(`tasks show ${run} double --map-index 1`),
      cli.json(`tasks show ${run} total --json`),
      cli.good(`runs logs ${run} double --map-index 1`),
      cli.good(`tasks logs ${run} double --map-index 1 --try 1 --json`),
      cli.good("tasks logs broken manual__log fails"),
      cli.good("tasks list shop"),
      cli.json<{ tasks: unknown[] }>("tasks list shop --json"),
      cli.good(`runs logs ${run} total --try 1 --json`),
    ]);
    expect(list).toMatch(/^shop {2,}manual__r {2,}success {2,}manual /m);
    expect(all.dag_runs.length).toBeGreaterThanOrEqual(2);
    expect(states).toMatch(/^double {2,}1 {2,}success {2,}1 /m);
    expect(some.task_instances.map(({ map_index }) => map_index).sort()).toEqual([0, 1]);
    expect(show).toMatch(/^rendered op_kwargs +\{"x":2\}$/m);
    expect(one).toMatchObject({ task_id: "total", state: "success" });
    expect(logs).toMatch(/^\d{4}-\S+Z INFO doubling 2$/m);
    expect(
      attempt
        .trim()
        .split("\n")
        .map((line) => (JSON.parse(line) as { event: string }).event),
    ).toContain("doubling 2");
    expect(own).toContain("total 6");
    expect(trace).toMatch(/Traceback \(most recent call last\):\n {2}File "[^"]+", line \d+, in /);
    expect(trace).toContain("ValueError: no luck\n");
    expect(tasks).toMatch(/^double {2,}@task {2,}yes /m);
    expect(taskList.tasks).toHaveLength(3);
    expect(await cli.good("runs status shop --run manual__r")).toBe("manual__r\tsuccess\n");
    await Promise.all([
      cli.refuses(`runs logs ${run} total --try 2`, 1, "try 2 of task total has no log"),
      cli.refuses(`runs logs ${run} total --map-index x`, 2, '--map-index is "x"'),
      cli.refuses(`tasks logs ${run} nobody`, 1, "nobody"),
      cli.refuses("runs list --older-than soon", 2, '--older-than is "soon"'),
      cli.refuses("runs list --state lost", 2, '--state is "lost"'),
      cli.refuses(`tasks states ${run} --state lost`, 2, '--state is "lost"'),
      cli.refuses("runs list --dag nobody", 1, "nobody"),
      cli.refuses("runs list --limit many", 2, '--limit is "many"'),
      cli.refuses("runs status makes", 1, 'no runs found for "makes"'),
    ]);
  });

  it("clears, marks and deletes them", async () => {
    await finished("shop", "manual__c", "--logical-date 2026-01-03T00:00:00Z");
    const run = "shop manual__c";
    const dry = await cli.json<{ task_instances: unknown[] }>(`runs clear ${run} --dry-run --json`);
    expect(dry.task_instances).toHaveLength(4);
    expect(await cli.good(`runs clear ${run} --only-new --dry-run`)).toMatch(/^TASK/);
    await Promise.all([
      cli.refuses(`runs clear ${run}`, 2, "refusing to clear these 4 task instances without --yes"),
      cli.refuses(`runs clear ${run} --only-new --only-failed`, 2, "exclude each other"),
    ]);
    expect(await cli.good(`runs clear ${run} --latest-version --note again --yes`)).toBe(
      'Cleared run manual__c of "shop"\n',
    );
    expect(await cli.json(`runs wait ${run} --timeout 60 --json`)).toMatchObject({ state: "success", note: "again" });
    expect(await cli.json(`runs clear ${run} --only-failed --yes --json`)).toMatchObject({ dag_run_id: "manual__c" });
    expect(await cli.good(`runs wait ${run}`)).toBe("Run manual__c ended as success\n");

    const only = await cli.json<{ task_instances: { task_id: string; map_index: number }[] }>(
      `tasks clear ${run} double --map-index 1 --dry-run --json`,
    );
    expect(only.task_instances.map(({ task_id, map_index }) => [task_id, map_index])).toEqual([["double", 1]]);
    expect(await cli.good(`tasks clear ${run} double --upstream --past --future --only-failed --dry-run`)).toMatch(
      /^TASK/,
    );
    expect(await cli.good(`tasks clear ${run} double --downstream --latest-version --note n --yes`)).toMatch(
      /^Cleared 3 task/,
    );
    await cli.good(`runs wait ${run}`);
    await Promise.all([
      cli.refuses(`tasks clear ${run}`, 2, "without --yes"),
      cli.refuses(`tasks clear ${run} --map-index 1`, 2, "--map-index needs one task"),
      cli.refuses(`tasks clear ${run} --upstream`, 2, "need a task"),
    ]);

    expect(await cli.good(`tasks mark skipped ${run} double --map-index 0 --note odd`)).toContain(
      "is marked skipped\n",
    );
    const marked = (await taskInstances(lite.client, "shop", "manual__c")).find(
      ({ task_id, map_index }) => task_id === "double" && map_index === 0,
    );
    expect(marked?.state).toBe("skipped");
    expect(await cli.good(`tasks mark failed ${run} total --upstream --downstream --past --future --dry-run`)).toMatch(
      /^TASK/,
    );
    expect(await cli.json(`tasks mark success ${run} double --json`)).toMatchObject({
      task_instances: expect.any(Array) as [],
    });
    await cli.refuses(`tasks mark lost ${run} double`, 2, "Allowed choices are success, failed, skipped");
    expect(await cli.good(`runs mark failed ${run}`)).toContain("is marked failed");
    expect(await cli.json(`runs mark success ${run} --json`)).toMatchObject({ state: "success" });
    await cli.refuses(`runs delete ${run}`, 2, "without --yes");
    expect(await cli.good(`runs delete ${run} --yes`)).toBe('Deleted 1 of 1 runs of "shop"\n');
    await finished("shop", "manual__d");
    expect(await cli.json("runs delete shop manual__d --yes --json")).toMatchObject({ errors: [] });
    await cli.refuses("runs delete shop manual__d --yes", 1, "manual__d");
  });

  it("follows a log and waits for a run to the end", async () => {
    const run = await triggerDag(lite.client, "slow");
    await cli.refuses(`runs wait slow ${run} --timeout 1`, 1, " after 1 s\n");
    const follow = cli.leoflow(`runs logs slow ${run} holds --follow`);
    const waiting = cli.leoflow(`runs wait slow ${run}`);
    const ended = await cli.onTerminal(`tasks logs slow ${run} holds -f`, [["holding", "\u0003"]]);
    expect(ended.code).toBe(130);
    writeFileSync(release, "");
    const { code, out } = await follow;
    expect(code).toBe(0);
    expect(out).toMatch(/holding\n[^]*let go\n/);
    expect(await waiting).toMatchObject({ code: 0, out: `Run ${run} ended as success\n` });
    await cli.refuses("runs wait slow nobody", 1, "nobody");
  });
});

it("makes backfills and works on them", async () => {
  await lite.client.unpause("shop");
  const dates = "--from-date 2026-02-01 --to-date 2026-02-02";
  const options = "--run-backwards --max-active-runs 1 --reprocess-behavior none";
  expect(await cli.good(`backfill create shop ${dates} --dry-run`)).toMatch(
    /^LOGICAL DATE\n2026-02-01.*\n2026-02-02.*\n$/,
  );
  expect(await cli.json(`backfill create shop ${dates} --dry-run --json`)).toMatchObject({ total_entries: 2 });
  const made = await cli.json<{ id: number }>(
    `backfill create shop ${dates} ${options} --run-on-latest-version --conf '{"a": 1}' --json`,
  );
  expect(await cli.json(`backfill show ${made.id} --json`)).toMatchObject({
    dag_run_conf: { a: 1 },
    max_active_runs: 1,
  });
  expect(await cli.good(`backfill show ${made.id}`)).toMatch(/^DAG +shop$/m);
  expect(await cli.good("backfill list --dag shop")).toMatch(new RegExp(`^${made.id} {2,}shop `, "m"));
  expect(await cli.json("backfill list --active --limit 0 --json")).toHaveProperty("backfills");
  await until("it has ended", async () => {
    const { completed_at: completed } = await cli.json<{ completed_at: string | null }>(
      `backfill show ${made.id} --json`,
    );
    return completed !== null;
  });
  await Promise.all([
    cli.refuses(`backfill pause ${made.id}`, 1, "already completed"),
    cli.refuses(`backfill unpause ${made.id}`, 1, "already completed"),
    cli.refuses(`backfill cancel ${made.id} --json`, 1, "already completed"),
    cli.refuses("backfill show x", 2, 'the backfill\'s id is "x"'),
    cli.refuses("backfill create shop --from-date 2026-02-02 --to-date 2026-02-01", 1, "must not be after"),
    cli.refuses(`backfill create shop ${dates} --conf-file - --dry-run`, 2, "not a JSON", { input: "[]" }),
  ]);

  await cli.good("dags pause shop");
  const paused = await cli.json<{ id: number }>(
    "backfill create shop --from-date 2026-03-01 --to-date 2026-03-09 --json",
  );
  expect(await cli.good(`backfill pause ${paused.id}`)).toBe(`Backfill ${paused.id} is paused\n`);
  expect(await cli.json(`backfill unpause ${paused.id} --json`)).toMatchObject({ is_paused: false });
  expect(await cli.json(`backfill pause ${paused.id} --json`)).toMatchObject({ is_paused: true });
  expect(await cli.good(`backfill cancel ${paused.id}`)).toBe(`Backfill ${paused.id} is cancelled\n`);
  await cli.good("dags unpause shop");
});

it("lists assets, and runs the DAG that makes one", async () => {
  await lite.client.unpause("makes");
  expect(await cli.good("assets list --pattern made --limit 0")).toMatch(/^1 {2,}file:\/\/\/tmp\/made /m);
  expect(await cli.json("assets list --json")).toMatchObject({ total_entries: 1 });
  expect(await cli.good("assets materialize file:///tmp/made --note mine --conf '{\"a\": 1}'")).toMatch(
    /^Triggered run asset_materialization__\S+ for "makes" \(state queued\)\n$/,
  );
  expect(await cli.json("assets materialize 1 --conf-file - --json", { input: "{}" })).toMatchObject({
    dag_id: "makes",
  });
  await cli.refuses("assets materialize nobody", 1, "there is no asset nobody");
});

it("loads no package but commander on the way to a server", async () => {
  const folder = join(cli.files, "coverage");
  await cli.good("dags list --limit 5", { env: { NODE_V8_COVERAGE: folder } });
  const [report = ""] = readdirSync(folder);
  const { result } = JSON.parse(readFileSync(join(folder, report), "utf8")) as { result: { url: string }[] };
  const packages = result.flatMap(({ url }) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? []);
  expect([...new Set(packages)]).toEqual(["commander"]);
});

describe("on a terminal", () => {
  it("fits tables to its width, and colours them unless told not to", async () => {
    const [narrow, plain] = await Promise.all([
      cli.onTerminal("dags list", [], { columns: 40 }),
      cli.onTerminal("dags list", [], { env: { NO_COLOR: "1" } }),
    ]);

    const lines = narrow.output
      .replace(/\u001b\[[0-9;]*m/g, "")
      .trimEnd()
      .split("\r\n");
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(40);
    expect(narrow.output).toContain("\u001b[1m");
    expect(narrow.output).toContain("…");
    expect(plain.output).not.toContain("\u001b");
  });

  it("asks before what cannot be taken back", async () => {
    const run = "manual__asked";
    await finished("makes", run);
    const no = await cli.onTerminal(`runs delete makes ${run}`, [["[y/N]", "n\r"]]);
    expect(no.code).toBe(1);
    expect(no.output).toContain("error: called off");
    expect((await cli.onTerminal(`runs delete makes ${run}`, [["[y/N]", "y\r"]])).code).toBe(0);
  });

  it("signs in with a password that it does not show", async () => {
    const dialogue: [string, string][] = [
      [`User of ${lite.base}:`, `${ADMIN}\r`],
      ["Password:", `${PASSWORD}\r`],
    ];
    const other = join(cli.files, "other-home");
    const { code, output } = await cli.onTerminal(`auth login --server ${lite.base}`, dialogue, {
      env: { LEOFLOW_HOME: other },
    });
    expect(code).toBe(0);
    expect(output).toContain(`Signed in to ${lite.base} as ${ADMIN}`);
    expect(output).not.toContain(PASSWORD);
    expect(statSync(join(other, "config.yaml")).mode & 0o777).toBe(0o600);
    expect(await cli.good("dags list --limit 0", { env: { LEOFLOW_HOME: other } })).toMatch(/^shop /m);
  });
});

it("has docs/cli.md as the commands are", async () => {
  const page = readFileSync(join(import.meta.dirname, "../../docs/cli.md"), "utf8");
  expect(page === (await cli.good("gen-docs")), "run `npm run docs:cli`").toBe(true);
});

/** Groups and commands that this file and cli-settings.test.ts are the tests of. */
const OWN = [
  ...["dags", "runs", "tasks", "backfill", "connections", "variables", "pools", "assets", "health", "config", "db"],
  "why",
  ...["completion", "auth login", "auth logout", "auth create-token"],
];
/** Of those, what has a test of its own. */
const ELSEWHERE = ["dags test"];

it("runs every command with every option in these two files", () => {
  const source = ["cli.test.ts", "cli-settings.test.ts"]
    .map((file) => readFileSync(join(import.meta.dirname, file), "utf8"))
    .join("\n");
  const constant = (name: string) => new RegExp(`const ${name} = "(.*)"`).exec(source)?.[1] ?? "";
  const calls = source.matchAll(/cli\.(?:good|json(?:<.*?>)?|leoflow|onTerminal|refuses)\(\s*[`"](.*?)(?<!\\)[`"]/gs);
  const lines = [...calls].map(([, line = ""]) =>
    line.replace(/\$\{(all|dates|options)\}/g, (_match, name: string) => constant(name)),
  );
  const missing: string[] = [];
  for (const { path, subcommands, options } of shapes) {
    const isOwn = (name: string) => `${path} `.startsWith(`leoflow ${name} `);
    if (subcommands.length > 0 || !OWN.some(isOwn) || ELSEWHERE.some(isOwn)) continue;
    const own = lines.filter((line) => shapeOf(line).path === path);
    if (own.length === 0) missing.push(path);
    for (const { names } of options) {
      // The first run of each command is told both.
      if (names.some((each) => ["--help", "--server", "--token"].includes(each))) continue;
      if (!own.some((line) => splitLine(line).some((word) => names.includes(word))))
        missing.push(`${path} ${names.join()}`);
    }
  }
  expect(missing).toEqual([]);
});
