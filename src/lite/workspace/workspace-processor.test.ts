import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { appendFileSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { dirname, join, posix } from "node:path";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { EventBus } from "../../domain/events.ts";
import type { ParsedDag, ParseRequest, ParseResult } from "../../domain/parse-result.ts";
import { systemClock } from "../../kit/clock.ts";
import { toJsonText } from "../../kit/json-text.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeRun, makeTaskInstance, serializedDag } from "../../../test/support/factories.ts";
import { ProjectEnvironments } from "./project-environments.ts";
import { WorkspaceProcessor, type WorkspaceProcessorConfig } from "./workspace-processor.ts";

const kit = { logger: pino({ level: process.env["LEOFLOW_TEST_LOG"] ?? "silent" }), clock: systemClock };
const dag = (...lines: string[]) => ["from airflow.sdk import DAG", ...lines, ""].join("\n");

let test: TestDatabase;
let home: string;
let workspace: string;
let events: EventBus;
let published: string[];
let parses: string[];
/** Held parses wait for this. */
let gate: Promise<void> | null;
let processor: WorkspaceProcessor;
let environments: ProjectEnvironments;

beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.close());

beforeEach(async () => {
  home = realpathSync(mkdtempSync(join(tmpdir(), "leoflow-workspace-")));
  workspace = join(home, "workspace");
  mkdirSync(workspace);
  await test.db.deleteFrom("dag_run").execute();
  await test.db.deleteFrom("dag").execute();
  await test.db.deleteFrom("import_error").execute();
  events = new EventBus();
  published = [];
  events.on("dag", ({ dagId }) => published.push(dagId));
  parses = [];
  gate = null;
  make();
});
afterEach(async () => {
  await processor.stop();
  rmSync(home, { recursive: true, force: true });
});

function make(config: Partial<WorkspaceProcessorConfig> = {}): void {
  environments = new ProjectEnvironments(kit, () => Promise.reject(new Error("no network")), {
    folder: join(home, "venvs"),
    basePython: "/usr/bin/python3",
    lockFile: join(import.meta.dirname, "../../../python/requirements.lock"),
    uvEnvironment: {},
  });
  processor = new WorkspaceProcessor(
    kit,
    { db: test.db, events, parse: fakeParse, environments },
    { workspace, versionsFolder: join(home, "versions"), pausedAtCreation: false, runtime: "r1", ...config },
  );
}

async function restart(config: Partial<WorkspaceProcessorConfig> = {}): Promise<void> {
  await processor.stop();
  make(config);
  parses = [];
  published = [];
  await processor.start();
  await processor.whenIdle();
}

/** Understands `dag("id")`, `use("module.py")`, `read("data")`, `list("folder/")`, `template("x.sql")`, `raise` and `crash`. */
async function fakeParse(request: ParseRequest): Promise<ParseResult> {
  parses.push(request.relPath);
  const source = readFileSync(request.path, "utf8");
  const calls = (name: string, text: string) =>
    [...text.matchAll(new RegExp(`^${name}\\("(.*?)"\\)`, "gm"))].map((m) => m[1] as string);
  const files = [request.relPath];
  let text = source;
  let error: string | null = null;
  for (const module of calls("use", source)) {
    try {
      text += readFileSync(join(request.workspace, module), "utf8");
      files.push(module);
    } catch {
      error = `Traceback\nModuleNotFoundError: No module named '${module}'`;
    }
  }
  if (/^raise/m.test(text)) error = "Traceback\nRuntimeError: raised";
  await gate;
  const failure = text.includes("crash")
    ? ({ kind: "memory", message: "killed: 1024 MB is the limit" } as const)
    : null;
  const good = error === null && failure === null;
  return {
    dags: good ? calls("dag", text).map((dagId) => parsedDag(dagId, request.path, source, text)) : [],
    importErrors: error === null ? [] : [{ filename: request.relPath, stacktrace: error }],
    warnings: [],
    files: failure ? [] : files,
    templates: calls("template", text),
    reads: [...calls("read", text), ...calls("list", text)],
    durationSeconds: 0.01,
    failure,
  };
}

function parsedDag(dagId: string, path: string, sourceCode: string, text: string): ParsedDag {
  return {
    dagId,
    serialized: toJsonText(serializedDag(dagId)),
    dagHash: createHash("md5").update(text.replaceAll(/#.*/g, "")).digest("hex"),
    fileloc: path,
    displayName: dagId,
    description: null,
    owners: "airflow",
    tags: [],
    timetableType: "",
    timetableSummary: "None",
    timetableDescription: "",
    timetablePeriodic: false,
    timetablePartitioned: false,
    assetExpression: null,
    maxActiveTasks: 16,
    maxActiveRuns: 16,
    maxConsecutiveFailedDagRuns: 0,
    hasTaskConcurrencyLimits: false,
    failFast: false,
    isPausedUponCreation: null,
    allowedRunTypes: null,
    sourceCode,
  };
}

function write(relPath: string, text: string): void {
  mkdirSync(dirname(join(workspace, relPath)), { recursive: true });
  writeFileSync(join(workspace, relPath), text);
}

async function start(): Promise<void> {
  await processor.start();
  await processor.whenIdle();
}

/** dag_id -> "file vN", with what is wrong. */
async function live(): Promise<Record<string, string>> {
  const rows = await test.db
    .selectFrom("dag")
    .innerJoin("dag_version", "dag_version.id", "dag.current_version_id")
    .select(["dag.dag_id", "relative_fileloc", "version_number", "is_stale", "has_import_errors"])
    .execute();
  return Object.fromEntries(
    rows.map((row) => [
      row.dag_id,
      `${row.relative_fileloc} v${row.version_number}${row.is_stale ? " stale" : ""}${row.has_import_errors ? " error" : ""}`,
    ]),
  );
}

async function errors(): Promise<Record<string, string>> {
  const rows = await test.db.selectFrom("import_error").select(["filename", "stacktrace"]).execute();
  return Object.fromEntries(rows.map((row) => [row.filename, row.stacktrace]));
}

const becomes = (expected: Record<string, string>) =>
  vi.waitFor(async () => expect(await live()).toEqual(expected), { timeout: 5000, interval: 10 });
const errorsBecome = (expected: Record<string, unknown>) =>
  vi.waitFor(async () => expect(await errors()).toEqual(expected), { timeout: 5000, interval: 10 });

it("parses what is there, and on the second start only what changed", async () => {
  write("a.py", dag('dag("a1")', 'dag("a2")', 'use("lib/h.py")'));
  write("lib/h.py", "X = 1\n");
  write("b.py", dag('dag("b")'));
  await start();
  expect(await live()).toEqual({ a1: "a.py v1", a2: "a.py v1", b: "b.py v1" });
  expect(published.sort()).toEqual(["a1", "a2", "b"]);
  expect(processor.status()).toMatchObject({ state: "running", files: 2, parsed: 2, waiting: 0, errors: 0 });
  await restart();
  expect(parses).toEqual([]);
  expect(processor.status()).toMatchObject({ files: 2, unchanged: 2, parsed: 0 });
  await processor.stop();
  write("lib/h.py", "X = 2\n");
  rmSync(join(workspace, "b.py"));
  await restart();
  expect(parses).toEqual(["a.py"]);
  expect(await live()).toEqual({ a1: "a.py v2", a2: "a.py v2", b: "b.py v1 stale" });
  await restart({ runtime: "r2" });
  expect(parses).toEqual(["a.py"]);
  expect(await live()).toMatchObject({ a1: "a.py v2" });
});

it("takes a save at once, and an unchanged save makes no version", async () => {
  write("a.py", dag('dag("a")'));
  await start();
  write("a.py", dag('dag("a")', "x = 1"));
  await becomes({ a: "a.py v2" });
  parses = [];
  write("a.py", dag('dag("a")', "x = 1"));
  await vi.waitFor(() => expect(parses).toEqual(["a.py"]));
  await processor.whenIdle();
  expect(await live()).toEqual({ a: "a.py v2" });
});

it("takes saves by rename, new folders, moves and removals", async () => {
  write("a.py", dag('dag("a")'));
  await start();
  writeFileSync(join(workspace, ".a.py.tmp"), dag('dag("a")', "x = 1"));
  renameSync(join(workspace, ".a.py.tmp"), join(workspace, "a.py"));
  await becomes({ a: "a.py v2" });
  write("new/deep/b.py", dag('dag("b")'));
  await becomes({ a: "a.py v2", b: "new/deep/b.py v1" });
  write("new/deep/b.py", dag('dag("b")', "x = 1"));
  await becomes({ a: "a.py v2", b: "new/deep/b.py v2" });
  renameSync(join(workspace, "new"), join(workspace, "moved"));
  await becomes({ a: "a.py v2", b: "moved/deep/b.py v3" });
  rmSync(join(workspace, "moved"), { recursive: true });
  await becomes({ a: "a.py v2", b: "moved/deep/b.py v3 stale" });
  mkdirSync(join(workspace, "moved/deep"), { recursive: true });
  write("moved/deep/b.py", dag('dag("b")'));
  await becomes({ a: "a.py v2", b: "moved/deep/b.py v4" });
  write("moved/deep/b.py", "nothing for us\n");
  await becomes({ a: "a.py v2", b: "moved/deep/b.py v4 stale" });
});

it("keeps the last good version through an error, and clears the error", async () => {
  write("a.py", dag('dag("a")'));
  await start();
  write("a.py", dag('dag("a")', "raise"));
  await becomes({ a: "a.py v1 error" });
  expect(await errors()).toEqual({ "a.py": "Traceback\nRuntimeError: raised" });
  expect(processor.status().errors).toBe(1);
  write("a.py", dag('dag("a")', "crash"));
  await errorsBecome({ "a.py": "killed: 1024 MB is the limit" });
  write("a.py", dag('dag("a")'));
  await becomes({ a: "a.py v1" });
  expect(await errors()).toEqual({});
  write("a.py", dag('dag("a")', "raise"));
  await becomes({ a: "a.py v1 error" });
  rmSync(join(workspace, "a.py"));
  await becomes({ a: "a.py v1 stale" });
  expect(await errors()).toEqual({});
});

it("does not flash an error for a file that is being written", async () => {
  write("a.py", dag('dag("a")'));
  await start();
  published = [];
  writeFileSync(join(workspace, "a.py"), "");
  for (const line of dag('dag("a")', "x = 1", "y = 2").split("\n"))
    appendFileSync(join(workspace, "a.py"), `${line}\n`);
  await becomes({ a: "a.py v2" });
  // Emptied, and written only later.
  writeFileSync(join(workspace, "a.py"), "");
  await new Promise((resolve) => setTimeout(resolve, 60));
  write("a.py", dag('dag("a")', "x = 3"));
  await becomes({ a: "a.py v3" });
  expect(published).toEqual(["a", "a"]);
  writeFileSync(join(workspace, "a.py"), "");
  await becomes({ a: "a.py v3 stale" });
});

it("drops what a parse found when the file was saved meanwhile", async () => {
  let open = () => {};
  gate = new Promise((resolve) => (open = resolve));
  write("a.py", dag('dag("a")', "raise"));
  await processor.start();
  await vi.waitFor(() => expect(parses).toEqual(["a.py"]));
  write("a.py", dag('dag("a")'));
  open();
  await becomes({ a: "a.py v1" });
  expect(published).toEqual(["a"]);
});

it("parses again when a helper, a template, data or a listed folder changes", async () => {
  write(
    "flows/a.py",
    dag('use("flows/h.py")', 'template("flows/q.sql")', 'read("flows/c.json")', 'list("flows/many/")', 'dag("a")'),
  );
  write("flows/h.py", "X = 1\n");
  write("flows/q.sql", "select 1\n");
  write("flows/c.json", "{}\n");
  write("flows/many/1.yaml", "");
  await start();
  write("flows/h.py", "X = 2\n");
  await becomes({ a: "flows/a.py v2" });
  write("flows/q.sql", "select 2\n");
  await becomes({ a: "flows/a.py v3" });
  parses = [];
  write("flows/c.json", "{ }\n");
  await vi.waitFor(() => expect(parses).toEqual(["flows/a.py"]));
  await processor.whenIdle();
  expect(await live()).toEqual({ a: "flows/a.py v3" });
  write("flows/many/2.yaml", "");
  await vi.waitFor(() => expect(parses).toEqual(["flows/a.py", "flows/a.py"]), { timeout: 5000 });
  await processor.whenIdle();
  // Written again as it was: nobody needs to know.
  parses = [];
  write("flows/h.py", "X = 2\n");
  write("flows/z.py", dag('dag("z")'));
  await becomes({ a: "flows/a.py v3", z: "flows/z.py v1" });
  expect(parses).toEqual(["flows/z.py"]);
});

it("parses files that failed to import when a module comes", async () => {
  write("a.py", dag('use("lib/h.py")', 'dag("a")'));
  write("b.py", dag("raise"));
  await start();
  await errorsBecome({
    "a.py": expect.stringContaining("ModuleNotFoundError") as string,
    "b.py": expect.any(String) as string,
  });
  parses = [];
  write("lib/h.py", "X = 1\n");
  await becomes({ a: "a.py v1" });
  expect(parses).toEqual(["a.py"]);
  renameSync(join(workspace, "lib"), join(workspace, "bil"));
  await becomes({ a: "a.py v1 error" });
  renameSync(join(workspace, "bil"), join(workspace, "lib"));
  await becomes({ a: "a.py v1" });
});

it("leaves a dag_id with its first file, and hands it on when that goes", async () => {
  write("a.py", dag('dag("x")'));
  await start();
  write("b.py", dag('dag("x")', 'dag("y")'));
  await becomes({ x: "a.py v1", y: "b.py v1 error" });
  expect((await errors())["b.py"]).toContain(`Ignoring DAG x from ${workspace}/b.py - also found in ${workspace}/a.py`);
  write("a.py", dag('dag("other")'));
  await becomes({ x: "b.py v2", y: "b.py v1", other: "a.py v1" });
  expect(await errors()).toEqual({});
  // A moved file is not a duplicate.
  renameSync(join(workspace, "b.py"), join(workspace, "c.py"));
  await becomes({ x: "c.py v3", y: "c.py v2", other: "a.py v1" });
  expect(await errors()).toEqual({});
});

it("obeys changes of ignore files and of leoflow.yaml", async () => {
  write("p/dag.py", dag('dag("p")'));
  write("old.py", dag('dag("old")'));
  await start();
  write(".airflowignore", "old.py\n");
  await becomes({ p: "p/dag.py v1", old: "old.py v1 stale" });
  write("p/leoflow.yaml", "dag_id: p\nnope: 1\n");
  await becomes({ p: "p/dag.py v1 error", old: "old.py v1 stale" });
  expect(await errors()).toEqual({ "p/dag.py": 'p/leoflow.yaml:2:1: unknown key "nope"' });
  write("p/leoflow.yaml", "dependencies: [cowsay]\n");
  await errorsBecome({
    "p/dag.py": expect.stringMatching(/^could not install the dependencies of p\n\n.*no network/s) as string,
  });
  write("p/leoflow.yaml", "dag_id: p\n");
  await becomes({ p: "p/dag.py v2", old: "old.py v1 stale" });
  rmSync(join(workspace, ".airflowignore"));
  await becomes({ p: "p/dag.py v2", old: "old.py v1" });
});

it("keeps the files of versions and shows them new data", async () => {
  write("f/a.py", dag('use("f/h.py")', 'dag("a")'));
  write("f/h.py", "X = 1\n");
  await start();
  const [digest] = readdirSync(join(home, "versions"));
  const folder = join(home, "versions", digest as string, "f");
  write("f/data.csv", "1,2\n");
  await vi.waitFor(() => expect(readFileSync(join(folder, "data.csv"), "utf8")).toBe("1,2\n"));
  write("f/h.py", "X = 2\n");
  await becomes({ a: "f/a.py v2" });
  expect(readFileSync(join(folder, "h.py"), "utf8")).toBe("X = 1\n");
  const row = await test.db
    .selectFrom("dag_version")
    .where("version_number", "=", 2)
    .selectAll()
    .executeTakeFirstOrThrow();
  expect(row).toMatchObject({ dag_rel_path: "f/a.py", environment: "default" });
  expect(existsSync(posix.join(home, "versions", row.archive_digest, "f/a.py"))).toBe(true);
});

it("moves what tasks wrote beside their DAG file into the workspace, once no task runs", async () => {
  write("f/a.py", dag('dag("a")'));
  await start();
  const { archive_digest } = await test.db.selectFrom("dag_version").select("archive_digest").executeTakeFirstOrThrow();
  const run = await makeRun(test.db, { dag_id: "a" });
  const ti = await makeTaskInstance(test.db, { dag_run_id: run.id, state: "running", task_id: "other" });
  writeFileSync(join(home, "versions", archive_digest, "f/out.csv"), "1");
  const ended = { id: "x", taskId: "t", mapIndex: -1, wakeAt: null, newId: null, mappedLength: null } as const;
  const end = () => events.publish({ kind: "task-instance", dagRunId: run.id, state: "success", ...ended });
  end();
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(existsSync(join(workspace, "f/out.csv"))).toBe(false);
  await test.db.updateTable("task_instance").set({ state: "success" }).where("id", "=", ti.id).execute();
  end();
  await vi.waitFor(() => expect(readFileSync(join(workspace, "f/out.csv"), "utf8")).toBe("1"));
});

it("brings back a DAG that was deleted while its file is there", async () => {
  write("a.py", dag('dag("a")'));
  await start();
  await test.db.deleteFrom("dag").where("dag_id", "=", "a").execute();
  events.publish({ kind: "dag", dagId: "a" });
  await becomes({ a: "a.py v1" });
  expect(processor.reparse("a.py")).toBe(true);
  expect(processor.reparse("nope.py")).toBe(false);
});

it("says what is wrong with a workspace it cannot use", async () => {
  make({ workspace: join(home, "nowhere") });
  await expect(processor.start()).rejects.toThrow(`the workspace ${home}/nowhere does not exist`);
  writeFileSync(join(home, "file"), "");
  make({ workspace: join(home, "file") });
  await expect(processor.start()).rejects.toThrow("is not a folder");
  expect(processor.status().state).toBe("stopped");
});

it("leaves DAGs as they are while the workspace is away, and goes on when it is back", async () => {
  write("a.py", dag('dag("a")'));
  await start();
  renameSync(workspace, join(home, "away"));
  await vi.waitFor(() => expect(processor.status().state).toBe("unreadable"), { timeout: 5000 });
  expect(processor.status().problem).toBe(`the workspace ${workspace} does not exist`);
  expect(await live()).toEqual({ a: "a.py v1" });
  mkdirSync(join(home, "elsewhere"));
  writeFileSync(join(home, "elsewhere/b.py"), dag('dag("b")'));
  symlinkSync(join(home, "elsewhere"), workspace);
  await becomes({ a: "a.py v1 stale", b: "b.py v1" });
  expect(processor.status()).toMatchObject({ state: "running", problem: null });
  write("b.py", dag('dag("b")', "x = 1"));
  await becomes({ a: "a.py v1 stale", b: "b.py v2" });
});

it("looks by time where it is told to", async () => {
  make({ pollSeconds: 0.05 });
  write("a.py", dag('dag("a")'));
  await start();
  write("a.py", dag('dag("a")', "x = 1"));
  await becomes({ a: "a.py v2" });
});

it("stops while parses are under way, twice too, and drops what they bring", async () => {
  let open = () => {};
  gate = new Promise((resolve) => (open = resolve));
  write("a.py", dag('dag("a")'));
  await processor.start();
  await vi.waitFor(() => expect(parses).toEqual(["a.py"]));
  await processor.stop();
  await processor.stop();
  open();
  await new Promise((resolve) => setImmediate(resolve));
  expect(await live()).toEqual({});
  expect(processor.status()).toMatchObject({ state: "stopped", files: 0 });
});
