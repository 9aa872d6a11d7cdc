import { existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCommand } from "../../src/lite/command.ts";
import { makeFakeRelease } from "./fake-release.ts";
import { createUser, SCRIPT, type User } from "./installer.ts";
import { BASE_TOOLS, namesIn, putProgram, toolbox } from "./tools.ts";

// kill -9 around each program that install.sh calls.

const ALL = (version: string) => [version, version, version];

describe("killed in the middle", () => {
  let template: User;
  let toolsOf: (user: User) => string;
  beforeAll(() => {
    template = createUser();
    makeFakeRelease(template.releases, "0.1.0");
    makeFakeRelease(template.releases, "0.2.0");
    // Each program that the script calls counts, and kills the script when its turn has come.
    toolsOf = (each) => {
      const folder = join(dirname(each.home), "tools");
      const links = toolbox(join(dirname(each.home), "links"), [...BASE_TOOLS, "sha256sum", "shasum"]);
      for (const name of namesIn(links)) {
        putProgram(folder, name, `${name === "sh" ? "" : '. "$KILL_HOOK"\n'}exec '${join(links, name)}' "$@"`);
      }
      return folder;
    };
  });
  afterAll(() => template.remove());

  const HOOK = `read -r count <"$KILL_COUNT"
count=$((count + 1))
echo "$count" >"$KILL_COUNT"
if [ "$count" -ge "$KILL_AT" ]; then read -r pid <"$KILL_PID"; kill -9 "$pid" 2>/dev/null; exit 137; fi
`;

  /** The whole installation where `at` is undefined; returns how many steps there were. */
  async function installKilled(each: User, at: number | undefined): Promise<number> {
    const base = dirname(each.home);
    const env = {
      ...{ KILL_HOOK: join(base, "hook"), KILL_COUNT: join(base, "count"), KILL_PID: join(base, "pid") },
      ...{ KILL_AT: String(at ?? 1_000_000), LEOFLOW_VERSION: "0.2.0" },
    };
    writeFileSync(env.KILL_HOOK, HOOK);
    writeFileSync(env.KILL_COUNT, "0\n");
    const tools = existsSync(join(base, "tools")) ? join(base, "tools") : toolsOf(each);
    const outer = `echo $$ >"$KILL_PID"; exec sh '${SCRIPT}'`;
    const result = await runCommand(["sh", "-c", outer], { env: each.env({ ...env, PATH: tools }), cwd: each.home });
    const steps = Number(readFileSync(env.KILL_COUNT, "utf8"));
    // Programs of a pipeline count at the same time, so one count may be lost, and the last steps may not come.
    const cameToTheEnd = at === undefined || (result.code === 0 && steps < at);
    expect(result.code, result.output).toBe(cameToTheEnd ? 0 : null);
    return steps;
  }

  async function fresh(withOld: boolean): Promise<User> {
    const each = createUser();
    rmSync(each.releases, { recursive: true });
    symlinkSync(template.releases, each.releases);
    if (withOld) expect((await each.install({ LEOFLOW_VERSION: "0.1.0", LEOFLOW_NO_SETUP: "1" })).code).toBe(0);
    return each;
  }

  it.each([
    ["over an older version", true],
    ["as the first one", false],
  ])("works before and after each step, %s", async (_name, withOld) => {
    const whole = await fresh(withOld);
    const steps = await installKilled(whole, undefined);
    whole.remove();
    expect(steps).toBeGreaterThan(20);
    for (let at = 1; at <= steps; at += withOld ? 1 : 3) {
      const each = await fresh(withOld);
      await installKilled(each, at);
      if (withOld) {
        const versions = await each.versions();
        expect([ALL("0.1.0"), ALL("0.2.0")], `killed at ${at}`).toContainEqual(versions);
      }
      const again = await each.install({ LEOFLOW_VERSION: "0.2.0", LEOFLOW_NO_SETUP: "1" });
      expect(again.code, `after a kill at ${at}: ${again.output}`).toBe(0);
      expect(await each.versions()).toEqual(ALL("0.2.0"));
      const left = [...namesIn(each.lib), ...namesIn(each.bin)].filter((name) => /^\.|new/.test(name));
      expect(left, `killed at ${at}`).toEqual([]);
      each.remove();
    }
  });
});
