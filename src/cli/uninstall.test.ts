import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, it } from "vitest";
import { runOnTerminal } from "../../test/release/pty.ts";
import { createDocker } from "../../test/support/docker.ts";
import { createHome } from "../../test/support/home.ts";
import { createLiteHome, processesOf } from "../../test/support/lite.ts";
import { bundleProgram, type BundledProgram } from "../../test/support/run-typescript.ts";
import { until } from "../../test/support/until.ts";
import { resolvePaths, type LeoflowPaths } from "../lite/paths.ts";
import { chooseIdentity } from "../lite/postgres/identity.ts";
import { ManagedPostgres } from "../lite/postgres/managed-postgres.ts";
import { readPostmasterFile } from "../lite/postgres/stale-server.ts";

let program: BundledProgram;
beforeAll(async () => {
  program = await bundleProgram(join(import.meta.dirname, "../main.ts"));
});
afterAll(() => program.remove());

let paths: LeoflowPaths;
let remove: () => void;
let workspace: string;
beforeEach(() => {
  ({ paths, remove } = createHome());
  workspace = join(dirname(paths.home), "dags");
  mkdirSync(workspace);
  mkdirSync(join(paths.managedPostgres, "data"));
  writeFileSync(join(paths.managedPostgres, "data/PG_VERSION"), "18\n");
  writeFileSync(paths.config, `workspace: ${workspace}\n`);
});
afterEach(() => remove());

const env = () => ({ HOME: dirname(paths.home), LEOFLOW_HOME: paths.home, NO_COLOR: "1" });

/** `answer` is all that stdin holds. */
async function uninstall(
  args: string[],
  answer = "",
  more: Record<string, string> = {},
): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [program.file, "uninstall", ...args], {
    env: { ...process.env, ...env(), ...more },
  });
  let [out, err] = ["", ""];
  child.stdout.on("data", (data: Buffer) => (out += data.toString()));
  child.stderr.on("data", (data: Buffer) => (err += data.toString()));
  child.stdin.end(answer);
  const code = await new Promise<number | null>((closed) => child.once("close", closed));
  return { code, out, err };
}

it.each([
  ["no\n", "plain"],
  ["", "plain"],
  ["YES PLEASE\n", "--purge"],
])("is aborted by %j, and removes nothing (U4)", async (answer, mode) => {
  const { code, out } = await uninstall(mode === "plain" ? [] : [mode], answer);
  expect(code).toBe(0);
  expect(out).toMatch(/This goes \(.* MB|This goes \(/);
  expect(out).toContain(paths.venv);
  expect(out).toContain("Type 'yes' to confirm (or re-run with --yes): ");
  expect(out.endsWith("aborted.\n")).toBe(true);
  expect(existsSync(paths.venv)).toBe(true);
  expect(existsSync(workspace)).toBe(true);
});

it.each(["yes\n", "y\n", "Yes"])("is confirmed by %j (U4)", async (answer) => {
  const { code, out, err } = await uninstall([], answer);
  expect(code, err).toBe(0);
  expect(out).toContain("Done. Your DAGs, database, settings and login are kept");
  expect(existsSync(paths.venv)).toBe(false);
  expect(existsSync(paths.config)).toBe(true);
  expect(existsSync(join(paths.managedPostgres, "data/PG_VERSION"))).toBe(true);
});

it("asks on a terminal, and Ctrl-C is a no", async () => {
  const command = [process.execPath, program.file, "uninstall", "--purge"];
  const called = await runOnTerminal(command, [["Type 'yes' to confirm", "\u0003"]], env());
  expect(called.code).toBe(130);
  expect(existsSync(workspace)).toBe(true);
  const { code, output } = await runOnTerminal(command, [["Type 'yes' to confirm", "yes\r"]], env());
  expect(code, output).toBe(0);
  expect([paths.home, workspace].filter(existsSync)).toEqual([]);
});

it("lists without removing, also as JSON", async () => {
  const { out } = await uninstall(["--dry-run"]);
  expect(out).not.toContain("Type 'yes'");
  const { code, out: json } = await uninstall(["--purge", "--dry-run", "--json"]);
  expect(code).toBe(0);
  const plan = JSON.parse(json) as { goes: { path: string; bytes: number }[]; stays: unknown[]; dry_run: boolean };
  expect(plan).toMatchObject({ home: paths.home, purge: true, dry_run: true, running: null, stays: [], problems: [] });
  expect(plan.goes.map(({ path }) => path)).toEqual(expect.arrayContaining([paths.config, workspace]));
  expect(existsSync(paths.venv)).toBe(true);
  expect(await uninstall(["--json"])).toMatchObject({
    code: 2,
    err: expect.stringContaining("error: --json asks nothing") as string,
  });
  expect(JSON.parse((await uninstall(["--json", "--yes"])).out)).toMatchObject({
    purge: false,
    dry_run: false,
    problems: [],
  });
});

it("says that there is nothing to remove (U5)", async () => {
  remove();
  expect(await uninstall(["--purge", "--yes"])).toEqual({
    code: 0,
    out: `Nothing to remove: ${paths.home} does not exist.\n`,
    err: "",
  });
});

it("stops a Leoflow that runs (U7)", async () => {
  const lite = await createLiteHome();
  try {
    paths = resolvePaths(lite.home);
    const running = await lite.start();
    const { code, out, err } = await uninstall(["--yes"]);
    expect(code, err).toBe(0);
    expect(out).toContain(`! Leoflow runs (process ${running.pid}); it is stopped first`);
    expect(out).toContain(`Stopping Leoflow (process ${running.pid}) ...`);
    expect(running.process.exitCode).toBe(0);
    expect(processesOf(lite.home)).toEqual([]);
    expect(existsSync(join(paths.managedPostgres, "data/PG_VERSION"))).toBe(true);
    expect(existsSync(paths.config)).toBe(true);
  } finally {
    await lite.remove();
  }
});

it("stops a PostgreSQL that a killed Leoflow left (U7)", async () => {
  rmSync(join(paths.managedPostgres, "data"), { recursive: true });
  const bin = inject("postgresBin");
  const made = new ManagedPostgres({ logger: pino({ level: "silent" }), bin, folder: paths.managedPostgres });
  await made.start();
  await made.stop();
  const dataDir = join(paths.managedPostgres, "data");
  const identity = await chooseIdentity({ folder: paths.managedPostgres, dataDir });
  const [postgres = "", ...args] = identity.wrap([join(bin, "postgres"), "-D", dataDir]);
  const left = spawn(postgres, args, { stdio: "ignore", detached: true });
  await until("PostgreSQL is ready", () => readPostmasterFile(dataDir)?.status === "ready");
  const { code, out, err } = await uninstall(["--yes"]);
  expect(code, err).toBe(0);
  expect(out).toContain("Stopped a PostgreSQL that an earlier Leoflow had left");
  await until("PostgreSQL ended in order", () => left.exitCode === 0);
});

it("removes with --purge the Docker volume of this home, and no other's (U6)", async () => {
  const docker = await createDocker(inject("postgresBin"));
  try {
    const hash = createHash("sha256").update(paths.home).digest("hex").slice(0, 12);
    const [own, other] = [`leoflow-data-${hash}`, "leoflow-data-0123456789ab"];
    for (const volume of [own, other]) await docker.makeVolume(volume, () => Promise.resolve());
    const kept = await uninstall(["--yes"], "", docker.env);
    expect(kept.out).not.toContain(own);
    expect(docker.volumes().sort()).toEqual([own, other].sort());
    const purged = await uninstall(["--purge", "--yes"], "", docker.env);
    expect(purged.code, purged.err).toBe(0);
    expect(purged.out).toContain(own);
    expect(purged.out).not.toContain(other);
    expect(docker.volumes()).toEqual([other]);
    expect(existsSync(paths.home)).toBe(false);
  } finally {
    docker.remove();
  }
});
