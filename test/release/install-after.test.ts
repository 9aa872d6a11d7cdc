import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeFakeRelease } from "./fake-release.ts";
import { createUser, SCRIPT, type User } from "./installer.ts";
import { runOnTerminal } from "./pty.ts";
import { putProgram } from "./tools.ts";

// What install.sh does once the new version is in place.

let user: User;
beforeEach(() => {
  user = createUser();
});
afterEach(() => user.remove());

describe("afterwards", () => {
  beforeEach(() => void makeFakeRelease(user.releases, "0.1.0"));
  const piped = ["sh", "-c", `cat '${SCRIPT}' | sh`];

  it("asks on the terminal though the script comes through a pipe", async () => {
    const { code, output } = await runOnTerminal(piped, [["Workspace: ", "mine\n"]], user.env());
    expect(code, output).toBe(0);
    expect(user.setupCalls()).toEqual(["setup input=terminal", "workspace=mine"]);
    expect(output).toContain("\u001b[32m✓\u001b[0m");
  });

  it("asks nothing when told so, and has no colours then", async () => {
    const { code, output } = await runOnTerminal(piped, [], user.env({ LEOFLOW_NONINTERACTIVE: "1", NO_COLOR: "1" }));
    expect(code, output).toBe(0);
    expect(user.setupCalls()).toEqual(["setup --yes input=none"]);
    expect(output).not.toContain("\u001b[3");
    expect((await user.install({ LEOFLOW_NO_SETUP: "1" })).output).toContain(
      "next       leoflow setup, then leoflow lite",
    );
    expect(user.setupCalls()).toHaveLength(1);
  });

  it("runs no set-up for root where someone called it with sudo", async () => {
    putProgram(join(dirname(user.home), "fakes"), "id", "echo 0");
    const env = { SUDO_USER: "ada", PATH: `${dirname(user.home)}/fakes:${user.bin}:${process.env["PATH"]}` };
    expect((await user.install(env)).output).toContain("next       leoflow setup, as ada and without sudo");
    expect(user.setupCalls()).toEqual([]);
  });

  it("says so when the set-up fails", async () => {
    writeFileSync(join(user.home, "setup-fails"), "");
    const { code, output } = await user.install();
    expect(code).toBe(1);
    expect(output).toContain("! Leoflow 0.1.0 is installed, but its set-up did not finish; run `leoflow setup` again");
  });

  it("says to restart a Lite that runs, and not one that ended", async () => {
    mkdirSync(join(user.home, ".leoflow"));
    const stat = readFileSync("/proc/self/stat", "utf8");
    const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    const lock = join(user.home, ".leoflow/lite.lock");
    writeFileSync(lock, JSON.stringify({ pid: process.pid, started, url: "http://localhost:8088" }));
    const { code, output } = await user.install();
    expect(code).toBe(0);
    expect(output).toContain(
      `! Leoflow Lite is running (process ${process.pid}) and goes on with the version it was started from.`,
    );
    expect(output).toContain("restart it to use 0.1.0: press Ctrl-C where it runs");
    for (const ended of [
      { pid: process.pid, started: "1" },
      { pid: 4_000_000, started: "1" },
    ]) {
      writeFileSync(lock, JSON.stringify(ended));
      expect((await user.install()).output).not.toContain("Lite is running");
    }
  });
});
