import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { pino } from "pino";
import { afterAll, beforeAll, expect, it } from "vitest";
import { buildIfStale } from "../../bin/set-up.mjs";
import { createHome } from "../../test/support/home.ts";
import { createLiteHome } from "../../test/support/lite.ts";
import { programVersion } from "../kit/version.ts";
import { startingPostgres, type Datastore } from "../lite/datastore.ts";
import type { LeoflowPaths } from "../lite/paths.ts";
import { silentProgress } from "../lite/progress.ts";
import { inspect } from "../lite/upgrade/inspect.ts";
import { upgradeHome } from "../lite/upgrade/upgrade-home.ts";
import { loadMigrations } from "../store/migrations.ts";
import { inspectionFacts, inspectionText } from "./preflight-text.ts";

const newest = loadMigrations().at(-1)?.version ?? 0;
const later = { version: newest + 1, name: "note_of_tasks", sql: "create index on task_instance (note)" };
const program = join(import.meta.dirname, "../../bin/leoflow");

let paths: LeoflowPaths;
let remove: () => void;
beforeAll(() => {
  buildIfStale();
  ({ paths, remove } = createHome());
});
afterAll(() => remove());

interface Answer {
  code: number | null;
  stdout: string;
  stderr: string;
}

function leoflow(home: string, args: string[], input = ""): Promise<Answer> {
  const child = spawn(process.execPath, [program, ...args], {
    env: { ...process.env, LEOFLOW_HOME: home, NO_COLOR: "1" },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (text: Buffer) => (stdout += text.toString()));
  child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
  child.stdin.end(input);
  return new Promise((done) => child.once("close", (code) => done({ code, stdout, stderr })));
}

const options = () => ({ paths, logger: pino({ level: "silent" }), progress: silentProgress, runtimeDir: undefined });

function withDatabase<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
  return startingPostgres(options(), async ({ database }: Datastore) => {
    const client = new pg.Client(database);
    await client.connect();
    try {
      return await work(client);
    } finally {
      await client.end();
    }
  });
}

it("has nothing to do where there is no database, and makes none", async () => {
  const checked = await leoflow(paths.home, ["upgrade", "--check", "--json"]);
  expect(checked.code).toBe(0);
  expect(JSON.parse(checked.stdout)).toMatchObject({ status: "empty", current: null, newest, pending: [] });
  const { code, stdout } = await leoflow(paths.home, ["upgrade", "--yes"]);
  expect([code, stdout]).toEqual([
    0,
    `  ✓ Nothing to do: ${paths.home} has no database yet; \`leoflow lite\` makes one\n`,
  ]);
});

it("looks at a database behind it, brings it along after a yes, and then has nothing to do", async () => {
  await withDatabase(async () => undefined);
  expect((await leoflow(paths.home, ["upgrade", "--yes"])).code).toBe(0);

  const found = await inspect(options(), { snapshot: true, migrations: [...loadMigrations(), later] });
  expect(inspectionFacts(found)).toMatchObject({
    leoflow_version: programVersion,
    status: "pending",
    current: newest,
    newest: newest + 1,
    pending: [{ version: newest + 1, name: "note_of_tasks", tables: ["task_instance"] }],
    snapshot: { estimated_bytes: expect.any(Number) as number },
    postgres: { action: "current", data_major: "18" },
    problem: null,
  });
  const text = inspectionText(found, paths.home);
  expect(text).toContain(`Schema     ${newest}; Leoflow ${programVersion} needs ${newest + 1}\n`);
  expect(text.replace(/about \d+ s/, "about N s")).toContain(
    `Migration  ${newest + 1} (note of tasks): about N s, all rows of task_instance\n`,
  );
  expect(text).toMatch(/Disk {7}[\d.]+ MB needed, .* free\n/);

  const asked: unknown[] = [];
  const onPreflight = (preflight: unknown) => void asked.push(preflight);
  const done = await upgradeHome(options(), { snapshot: true, onPreflight, migrations: [...loadMigrations(), later] });
  expect(done).toMatchObject({ from: newest, to: newest + 1, snapshot: expect.stringContaining("-schema-") as string });
  expect(asked).toHaveLength(1);
});

it("D1: says that the next start would refuse, and why, with exit code 1", async () => {
  const message = `database is at schema version ${newest + 1} but this binary only knows up to ${newest}`;
  const checked = await leoflow(paths.home, ["upgrade", "--check", "--json"]);
  expect(checked.code).toBe(1);
  expect(JSON.parse(checked.stdout)).toMatchObject({
    status: "blocked",
    current: newest + 1,
    problem: { message: expect.stringContaining(message) as string },
  });
  expect(checked.stderr).toContain(message);
  const tried = await leoflow(paths.home, ["upgrade", "--yes"]);
  expect([tried.code, tried.stderr.includes(message)]).toEqual([1, true]);
});

it("marks a dirty schema as whole only after a yes", async () => {
  await withDatabase((client) => client.query("update schema_migrations set dirty = version = $1", [newest + 1]));
  expect((await leoflow(paths.home, ["upgrade", "--check"])).stderr).toContain(`marked dirty at version ${newest + 1}`);
  const force = ["upgrade", "--force-version", String(newest)];
  expect(await leoflow(paths.home, force, "no\n")).toMatchObject({ code: 1 });
  expect(await leoflow(paths.home, force, "yes\n")).toMatchObject({ code: 0 });
  const { code, stdout } = await leoflow(paths.home, ["upgrade"]);
  expect([code, stdout]).toEqual([
    0,
    `  ✓ Nothing to do: the database is at schema version ${newest}, as Leoflow ${programVersion} needs it\n`,
  ]);
  expect(await leoflow(paths.home, ["upgrade", "--force-version", "x"])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--force-version is "x", not a version') as string,
  });
});

it("looks while Lite runs, and says who has the home when it is to work", async () => {
  const lite = await createLiteHome();
  try {
    const running = await lite.start();
    const ready = await fetch(`${running.base}/readyz`);
    expect([ready.status, await ready.json()]).toMatchObject([200, { status: "ready", schema_version: newest }]);
    const { code, stdout } = await leoflow(lite.home, ["upgrade", "--check"]);
    expect(code).toBe(0);
    expect(stdout).toContain("Nothing to do: the database is as this release needs it");
    const { code: refused, stderr } = await leoflow(lite.home, ["upgrade", "--yes"]);
    expect(refused).toBe(1);
    expect(stderr).toContain(`Leoflow Lite runs on ${lite.home} (process ${running.pid})`);
    await running.stop();
  } finally {
    await lite.remove();
  }
});

it("says how to get the newest release", async () => {
  const { stdout } = await leoflow(paths.home, ["upgrade", "--help"]);
  const [, command = ""] = /\n\s+(curl -fsSL \S+install\.sh \| sh)\n/.exec(stdout) ?? [];
  expect(readFileSync(join(import.meta.dirname, "../../install.sh"), "utf8")).toContain(command);
});
