import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { sharedUv } from "../../../test/support/home.ts";
import { contentsOf } from "../../../test/support/machine.ts";
import { createPythonMirror, type PythonMirror } from "../../../test/support/python-mirror.ts";
import { bundleProgram, type BundledProgram } from "../../../test/support/run-typescript.ts";
import { until } from "../../../test/support/until.ts";
import { lockOf, makeWheels } from "../../../test/support/wheels.ts";
import { readEnvironment } from "../../kit/config.ts";
import { UserError } from "../../kit/user-error.ts";
import { resolvePaths, type LeoflowPaths } from "../paths.ts";
import { silentProgress } from "../progress.ts";
import { ensurePython, readBaseMarker, type BaseMarker, type BasePython } from "./base-python.ts";
import { Toolchain } from "./toolchain.ts";

vi.setConfig({ testTimeout: 120_000 });

/** A CPython that nobody has: this machine's serves. */
const NOT_TO_BE_HAD = "3.12.99";

let shared: string;
let program: BundledProgram;
let mirror: PythonMirror;
let damaged: PythonMirror;
let home: string;
let paths: LeoflowPaths;
let notes: string[];

// A release whose lock pins two packages, from an index of our own.
beforeAll(async () => {
  shared = mkdtempSync(join(tmpdir(), "leoflow-repin-"));
  makeWheels(wheels(), [
    ["apache-airflow-core", "3.3.2"],
    ["apache-airflow-core", "3.4.0"],
    ["tiny", "1.0"],
    ["tiny", "2.0"],
    ["more", "1.0"],
    ["added", "1.0"],
  ]);
  makeWheels(join(shared, "own"), [["own", "1.0"]]);
  program = await bundleProgram(join(import.meta.dirname, "../../../test/support/repin-program.ts"));
  [mirror, damaged] = await Promise.all([
    createPythonMirror(join(shared, "mirror")),
    createPythonMirror(join(shared, "damaged"), { damage: true }),
  ]);
});
afterAll(async () => {
  program.killAll();
  program.remove();
  await Promise.all([mirror.close(), damaged.close()]);
  rmSync(shared, { recursive: true, force: true });
});
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "leoflow-test-"));
  paths = { ...resolvePaths(join(home, ".leoflow")), program: join(home, "program") };
  notes = [];
  mkdirSync(join(paths.program, "python"), { recursive: true });
  copyFileSync(join(resolvePaths("/").program, "python/uv.lock"), join(paths.program, "python/uv.lock"));
  pin({ "apache-airflow-core": "3.3.2", tiny: "1.0" });
  vi.stubEnv("PATH", [dirname(await sharedUv()), readEnvironment().path].join(delimiter));
  vi.stubEnv("UV_NO_INDEX", "1");
  vi.stubEnv("UV_FIND_LINKS", wheels());
  use(mirror);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(home, { recursive: true, force: true });
});

const wheels = () => join(shared, "wheels");

function use({ env }: PythonMirror): void {
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
}

/** Writes the release's lock. */
function pin(packages: Record<string, string>): void {
  writeFileSync(join(paths.program, "python/requirements.lock"), lockOf(wheels(), packages));
}

/** A start of the release that pins this CPython. */
function start(pinned: string): Promise<BasePython> {
  const progress = { ...silentProgress, note: (text: string) => notes.push(text) };
  return ensurePython(paths, progress, new Toolchain(paths, progress, undefined, pinned));
}

const ask = (python: BasePython, code: string) =>
  execFileSync(python.executable, ["-c", code], { encoding: "utf8", env: { PATH: "" } }).trim();

const changeMarker = (changes: Partial<BaseMarker>) =>
  writeFileSync(join(paths.venv, ".leoflow-deps"), JSON.stringify({ ...readBaseMarker(paths), ...changes }));

const failure = async (work: Promise<unknown>): Promise<UserError> => {
  const error = await work.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(UserError);
  return error as UserError;
};

const beside = () => readdirSync(paths.home).filter((name) => name.startsWith("venv."));
const builds = () => readdirSync(paths.python).filter((name) => /^cpython-\d+\.\d+\.\d+/.test(name));

it("C2, #742: a release that pins another CPython gets it, and the environment anew with what a user had added", async () => {
  const before = await start(NOT_TO_BE_HAD);
  expect(notes.join()).toContain(`CPython ${NOT_TO_BE_HAD} could not be downloaded`);
  expect(builds()).toEqual([]);
  const uv = await sharedUv();
  // One that can be had again, and one that lay in a folder.
  const own = join(shared, "own/own-1.0-py3-none-any.whl");
  execFileSync(uv, ["pip", "install", "--python", before.executable, "added==1.0", own], { stdio: "ignore" });
  notes = [];

  const python = await start(mirror.version);
  expect(mirror.downloads()).toBe(1);
  expect(builds()).toHaveLength(1);
  expect(python.executable).toBe(before.executable);
  expect(realpathSync(python.executable).startsWith(`${realpathSync(paths.python)}/cpython-${mirror.version}-`)).toBe(
    true,
  );
  expect(ask(python, "import sys, tiny, added; print(sys.base_prefix, tiny.VERSION)")).toMatch(
    /\.leoflow\/python\/cpython-.* 1\.0$/,
  );
  // Scripts run from where the environment is now, not from where it was made.
  expect(execFileSync(join(paths.venv, "bin/tiny"), { encoding: "utf8" })).toBe("tiny 1.0\n");
  expect(notes).toEqual([expect.stringContaining("because they cannot be installed: own==1.0;")]);
  expect(readBaseMarker(paths)).toMatchObject({ pinned_python: mirror.version, python: mirror.version });
  expect(beside()).toEqual([]);

  // From now on neither uv nor a network.
  vi.stubEnv("PATH", "");
  expect(await start(mirror.version)).toEqual(python);
  expect(mirror.downloads()).toBe(1);
});

it("a CPython that cannot be had leaves the environment as it was; it is asked for again a day later", async () => {
  const before = await start(NOT_TO_BE_HAD);
  const python = realpathSync(before.executable);
  notes = [];
  use(damaged);
  expect(await start(damaged.version)).toEqual(before);
  expect(notes.join()).toContain(`CPython ${damaged.version}, which this release pins, could not be downloaded`);
  expect([realpathSync(before.executable), builds()]).toEqual([python, []]);
  expect(ask(before, "import tiny; print(tiny.VERSION)")).toBe("1.0");

  const asked = damaged.downloads();
  notes = [];
  await start(damaged.version);
  expect([damaged.downloads(), notes]).toEqual([asked, []]);

  // New packages come also without it, and it is not forgotten.
  pin({ "apache-airflow-core": "3.3.2", tiny: "2.0" });
  expect(ask(await start(damaged.version), "import tiny; print(tiny.VERSION)")).toBe("2.0");
  expect([realpathSync(before.executable), readBaseMarker(paths)?.pinned_python]).toEqual([python, NOT_TO_BE_HAD]);

  changeMarker({ retry_after: "2026-01-01T00:00:00Z" });
  use(mirror);
  await start(mirror.version);
  expect(realpathSync(before.executable)).not.toBe(python);
  expect(readBaseMarker(paths)).toMatchObject({ pinned_python: mirror.version });
  expect(readBaseMarker(paths)?.retry_after).toBeUndefined();
});

it("a Python that this release has no packages for makes room for another of this machine", async () => {
  const { python } = (await start(NOT_TO_BE_HAD), readBaseMarker(paths)) ?? {};
  changeMarker({ python: "3.9.21" });
  pin({ "apache-airflow-core": "3.3.2", tiny: "2.0" });
  await start(NOT_TO_BE_HAD);
  expect(readBaseMarker(paths)?.python).toBe(python);
});

it("packages that cannot be had leave the old environment serving, unless its Airflow is another", async () => {
  const before = await start(NOT_TO_BE_HAD);
  const contents = contentsOf(paths.venv);
  pin({ "apache-airflow-core": "3.3.2", tiny: "9.0" });
  notes = [];
  expect(await start(NOT_TO_BE_HAD)).toEqual(before);
  expect(notes.join()).toContain("could not install Airflow's Python packages");
  expect(notes.join()).toContain("the environment of the release before goes on to serve");
  expect(contentsOf(paths.venv)).toEqual(contents);

  // Nothing may be missing, and Airflow is what Leoflow speaks to.
  pin({ "apache-airflow-core": "3.3.2", tiny: "9.0", more: "1.0" });
  await failure(start(NOT_TO_BE_HAD));
  pin({ "apache-airflow-core": "3.9.9", tiny: "1.0" });
  expect((await failure(start(NOT_TO_BE_HAD))).message).toContain("could not install Airflow's Python packages");
  // The way back is open.
  expect(contentsOf(paths.venv)).toEqual(contents);
  expect(beside()).toEqual([]);

  pin({ "apache-airflow-core": "3.4.0", tiny: "2.0" });
  const updated = await start(NOT_TO_BE_HAD);
  expect(ask(updated, "import tiny, apache_airflow_core as core; print(tiny.VERSION, core.VERSION)")).toBe("2.0 3.4.0");
});

it("killed just before any step, the next start finds an environment that works and makes the new one", async () => {
  await start(NOT_TO_BE_HAD);
  const count = join(home, "steps");
  const run = async (killAt: number) => {
    rmSync(count, { force: true });
    const preload = join(import.meta.dirname, "../../../test/release/kill-at-step.mjs");
    const env = ["env", `NODE_OPTIONS=--import=${preload}`, `KILL_AT=${killAt}`, `KILL_COUNT=${count}`];
    const child = program.start([JSON.stringify(paths), NOT_TO_BE_HAD], env);
    await new Promise((ended) => child.once("close", ended));
    return { signal: child.signalCode, steps: Number(readFileSync(count, "utf8")) };
  };
  let version = "2.0";
  pin({ "apache-airflow-core": "3.3.2", tiny: version });
  const { steps } = await run(0);
  expect(steps).toBeGreaterThan(4);
  const seen = new Set<string>();
  for (let step = 1; step <= steps; step++) {
    const [before, after] = version === "2.0" ? ["2.0", "1.0"] : ["1.0", "2.0"];
    pin({ "apache-airflow-core": "3.3.2", tiny: after });
    expect((await run(step)).signal, `step ${step}`).toBe("SIGKILL");
    // What is in place, or would be put back.
    const place = ["venv", "venv.new", "venv.old"].find((name) => existsSync(join(paths.home, name, ".leoflow-deps")));
    const found = execFileSync(join(paths.home, place ?? "", "bin/tiny"), { encoding: "utf8" }).trim();
    expect([`tiny ${before}`, `tiny ${after}`]).toContain(found);
    seen.add(`${place} ${found === `tiny ${after}` ? "after" : "before"}`);
    expect(ask(await start(NOT_TO_BE_HAD), "import tiny; print(tiny.VERSION)"), `step ${step}`).toBe(after);
    expect(beside()).toEqual([]);
    version = after;
  }
  expect(seen).toEqual(new Set(["venv before", "venv.new after", "venv after"]));
});

it("killed while uv works: uv ends too, and the next start begins again", async () => {
  const before = await start(NOT_TO_BE_HAD);
  const slow = await createPythonMirror(join(shared, "slow"), { silent: true });
  try {
    use(slow);
    const child = program.start([JSON.stringify(paths), slow.version]);
    const ended = new Promise((done) => child.once("close", done));
    await until("uv asks for CPython", () => slow.downloads() > 0);
    const uvs = () =>
      execFileSync("ps", ["-eo", "args="], { encoding: "utf8" })
        .split("\n")
        .filter((line) => line.includes("python install") && line.includes(paths.python));
    expect(uvs()).not.toEqual([]);
    child.kill("SIGKILL");
    await ended;
    await until("uv has ended", () => uvs().length === 0);
  } finally {
    await slow.close();
  }
  expect(ask(before, "import tiny; print(tiny.VERSION)")).toBe("1.0");
  use(mirror);
  const python = await start(mirror.version);
  expect(ask(python, "import sys; print(sys.base_prefix)")).toContain("/.leoflow/python/cpython-");
  expect(readlinkSync(python.executable)).toContain(`/.leoflow/python/cpython-${mirror.version}-`);
});

it("a start that was cut short between its two renames is finished by the next, or put back", async () => {
  const before = await start(NOT_TO_BE_HAD);
  const [fresh, old] = [`${paths.venv}.new`, `${paths.venv}.old`];
  renameSync(paths.venv, fresh);
  mkdirSync(old);
  expect(await start(NOT_TO_BE_HAD)).toEqual(before);
  expect(beside()).toEqual([]);

  // Only the old one is there.
  renameSync(paths.venv, old);
  expect(await start(NOT_TO_BE_HAD)).toEqual(before);
  expect(beside()).toEqual([]);
});

it("a CPython goes when no environment runs on it any more, a project's among them", async () => {
  const python = await start(mirror.version);
  const name = builds()[0] ?? "";
  const earlier = name.replace(mirror.version, "3.10.1");
  mkdirSync(join(paths.python, earlier, "bin"), { recursive: true });
  writeFileSync(join(paths.python, earlier, "bin/python3"), "");
  const project = join(paths.projectVenvs, "0123456789abcdef/bin");
  mkdirSync(project, { recursive: true });
  execFileSync("ln", ["-s", join(paths.python, earlier, "bin/python3"), join(project, "python")]);
  await start(mirror.version);
  expect(builds().sort()).toEqual([earlier, name].sort());
  rmSync(paths.projectVenvs, { recursive: true });
  expect(await start(mirror.version)).toEqual(python);
  expect(builds()).toEqual([name]);
});
