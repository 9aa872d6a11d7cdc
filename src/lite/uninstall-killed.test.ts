import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { filesIn, KEPT, KEPT_TOO, useInstalledHome } from "../../test/support/installed-home.ts";
import { bundleProgram } from "../../test/support/run-typescript.ts";

const home = useInstalledHome();
const { workspace, remove } = home;

describe("killed in the middle", () => {
  const hook = join(import.meta.dirname, "../../test/release/kill-at-step.mjs");

  it.each(["plain", "purge"])(
    "keeps key and database together, and goes on when run again: %s",
    { timeout: 240_000 },
    async (mode) => {
      const bundle = await bundleProgram(join(import.meta.dirname, "../../test/release/uninstall-program.ts"));
      const counter = join(dirname(home.user.home), "steps");
      const whole = join(dirname(home.user.home), "whole");
      execFileSync("cp", ["-a", home.user.home, whole]);
      const putBack = (name: string) => {
        rmSync(join(home.user.home, name), { recursive: true, force: true });
        execFileSync("cp", ["-a", join(whole, name), home.user.home]);
      };
      const run = async (at: number) => {
        const environment = ["env", `KILL_AT=${at}`, `KILL_COUNT=${counter}`, `NODE_OPTIONS=--import=${hook}`];
        const args = [home.paths.home, home.user.home, home.paths.program, mode];
        const child = bundle.start(args, environment);
        await new Promise((closed) => child.once("close", closed));
        return child.signalCode;
      };
      try {
        // A purge has twice the steps, and each costs a process: every other one.
        for (let at = 1; ; at += mode === "purge" ? 2 : 1) {
          const killed = await run(at);
          const has = (name: string) => existsSync(join(home.paths.home, name));
          if (has("managed-postgres/data/PG_VERSION")) expect(has("config.yaml"), `killed at ${at}`).toBe(true);
          if (existsSync(workspace())) expect(has("config.yaml"), `killed at ${at}`).toBe(true);
          if (mode === "plain")
            expect(filesIn(home.paths.home)).toEqual(expect.arrayContaining([...KEPT, ...KEPT_TOO]));
          // What is half removed must not look whole.
          for (const file of ["venv/.leoflow-deps", "managed-postgres/postgres-18.6.3/bin/postgres"]) {
            if (has(dirname(file))) expect(has(file), `killed at ${at}`).toBe(true);
          }
          if (killed === null) break;
          // With the command still there it is run once more; else it is installed first, as by a user.
          if (!existsSync(home.paths.program) || !existsSync(join(home.user.bin, "leoflow"))) putBack(".local");
          await remove(mode === "purge");
          expect(filesIn(home.paths.home), `after a kill at ${at}`).toEqual(
            mode === "plain" ? [...KEPT, ...KEPT_TOO].sort() : [],
          );
          expect(existsSync(home.user.lib)).toBe(false);
          if (mode === "purge") expect([existsSync(home.paths.home), existsSync(workspace())]).toEqual([false, false]);
          for (const name of [".local", ".leoflow", "my dags"]) putBack(name);
        }
        expect(Number(readFileSync(counter, "utf8"))).toBeGreaterThan(mode === "plain" ? 15 : 25);
      } finally {
        bundle.remove();
      }
    },
  );
});
