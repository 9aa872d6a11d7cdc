import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeFakeRelease } from "../../test/release/fake-release.ts";
import { createUser, type User } from "../../test/release/installer.ts";
import { bundleProgram } from "../../test/support/run-typescript.ts";
import { contentsOf } from "../../test/support/machine.ts";
import { resolvePaths, type LeoflowPaths } from "./paths.ts";
import { planUninstall, uninstall, type UninstallPlan } from "./uninstall.ts";

let user: User;
let paths: LeoflowPaths;
beforeEach(async () => {
  user = createUser();
  makeFakeRelease(user.releases, "0.1.0");
  const { code, output } = await user.install({ PATH: process.env["PATH"], SHELL: "/bin/dash" });
  expect(code, output).toBe(0);
  paths = { ...resolvePaths(join(user.home, ".leoflow")), program: realpathSync(join(user.lib, "current")) };
  writeHome();
});
afterEach(() => user.remove());

const workspace = () => join(user.home, "my dags");
const KEPT = ["config.yaml", "managed-postgres/data/PG_VERSION", "managed-postgres/password", "setup.json"];
const KEPT_TOO = ["logs/leoflow.log", "notes", "snapshots/one.tar.gz", "versions/abc/dag.py"];
const MADE_AGAIN = [
  "cache/ui",
  "managed-postgres/postgres-18.6.3/bin/postgres",
  "python/uv/bin/uv",
  "venv/.leoflow-deps",
  "venvs/etl/pyvenv.cfg",
];

/** An installation's files, as far as an uninstall looks at them. */
function writeHome(): void {
  for (const file of [...KEPT, ...KEPT_TOO, ...MADE_AGAIN]) {
    mkdirSync(dirname(join(paths.home, file)), { recursive: true });
    writeFileSync(join(paths.home, file), file);
  }
  writeFileSync(paths.config, `# mine\nworkspace: ${workspace()}\nfernet_key: ${"A".repeat(43)}=\n`);
  mkdirSync(workspace());
  writeFileSync(join(workspace(), "dag.py"), "print()");
}

const options = (purge: boolean) => ({ paths, environment: { userHome: user.home }, purge });
async function plan(purge = false): Promise<UninstallPlan> {
  const found = await planUninstall(options(purge));
  if (!found) throw new Error("there is something to remove");
  return found;
}
async function remove(purge = false): Promise<string[]> {
  const problems = await uninstall(options(purge), await plan(purge), { onStep: () => undefined });
  return problems.map(({ path, problem }) => `${path}: ${problem}`);
}
const filesIn = (folder: string) =>
  Object.entries(contentsOf(folder))
    .filter(([, kind]) => kind.startsWith("file"))
    .map(([name]) => name)
    .sort();

describe("killed in the middle", () => {
  const hook = join(import.meta.dirname, "../../test/release/kill-at-step.mjs");

  it.each(["plain", "purge"])(
    "keeps key and database together, and goes on when run again: %s",
    { timeout: 240_000 },
    async (mode) => {
      const bundle = await bundleProgram(join(import.meta.dirname, "../../test/release/uninstall-program.ts"));
      const counter = join(dirname(user.home), "steps");
      const whole = join(dirname(user.home), "whole");
      execFileSync("cp", ["-a", user.home, whole]);
      const putBack = (name: string) => {
        rmSync(join(user.home, name), { recursive: true, force: true });
        execFileSync("cp", ["-a", join(whole, name), user.home]);
      };
      const run = async (at: number) => {
        const environment = ["env", `KILL_AT=${at}`, `KILL_COUNT=${counter}`, `NODE_OPTIONS=--import=${hook}`];
        const args = [paths.home, user.home, paths.program, mode];
        const child = bundle.start(args, environment);
        await new Promise((closed) => child.once("close", closed));
        return child.signalCode;
      };
      try {
        // A purge has twice the steps, and each costs a process: every other one.
        for (let at = 1; ; at += mode === "purge" ? 2 : 1) {
          const killed = await run(at);
          const has = (name: string) => existsSync(join(paths.home, name));
          if (has("managed-postgres/data/PG_VERSION")) expect(has("config.yaml"), `killed at ${at}`).toBe(true);
          if (existsSync(workspace())) expect(has("config.yaml"), `killed at ${at}`).toBe(true);
          if (mode === "plain") expect(filesIn(paths.home)).toEqual(expect.arrayContaining([...KEPT, ...KEPT_TOO]));
          // What is half removed must not look whole.
          for (const file of ["venv/.leoflow-deps", "managed-postgres/postgres-18.6.3/bin/postgres"]) {
            if (has(dirname(file))) expect(has(file), `killed at ${at}`).toBe(true);
          }
          if (killed === null) break;
          // With the command still there it is run once more; else it is installed first, as by a user.
          if (!existsSync(paths.program) || !existsSync(join(user.bin, "leoflow"))) putBack(".local");
          await remove(mode === "purge");
          expect(filesIn(paths.home), `after a kill at ${at}`).toEqual(
            mode === "plain" ? [...KEPT, ...KEPT_TOO].sort() : [],
          );
          expect(existsSync(user.lib)).toBe(false);
          if (mode === "purge") expect([existsSync(paths.home), existsSync(workspace())]).toEqual([false, false]);
          for (const name of [".local", ".leoflow", "my dags"]) putBack(name);
        }
        expect(Number(readFileSync(counter, "utf8"))).toBeGreaterThan(mode === "plain" ? 15 : 25);
      } finally {
        bundle.remove();
      }
    },
  );
});
