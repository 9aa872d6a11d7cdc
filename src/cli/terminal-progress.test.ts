import { expect, it } from "vitest";
import { readyBlock } from "./ready-block.ts";
import { TerminalProgress, type Terminal } from "./terminal-progress.ts";

function terminal(kind: Partial<Terminal>): Terminal & { text: () => string } {
  let text = "";
  return { write: (more) => (text += more), isTTY: false, columns: 60, colour: false, ...kind, text: () => text };
}

it("writes plain final lines where there is no terminal", async () => {
  const target = terminal({});
  const progress = new TerminalProgress(target);
  await progress.step("Start PostgreSQL", async (detail) => detail("ready"));
  progress.note("Python 3.11 serves");
  await expect(progress.step("Start Leoflow", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(target.text()).toBe(
    `  ✓ ${"Start PostgreSQL".padEnd(34)} 0.0 s\n  ! Python 3.11 serves\n  ✗ ${"Start Leoflow".padEnd(34)} 0.0 s\n`,
  );
});

it("redraws one line for all running steps on a terminal, never longer than it is wide", async () => {
  const target = terminal({ isTTY: true, colour: true });
  const progress = new TerminalProgress(target);
  await Promise.all([
    progress.step("Install PostgreSQL", async (detail) => {
      await Promise.resolve();
      detail("x".repeat(200));
      progress.note("half way");
    }),
    progress.step("Install Airflow's Python packages", async () => undefined),
  ]);
  const lines = target.text().split(/[\r\n]/);
  expect(Math.max(...lines.map((line) => line.replace(/\u001b\[[\d;]*[mK]/g, "").length))).toBeLessThan(60);
  expect(target.text()).toContain("Install PostgreSQL 0.0 s, Install Airflow's");
  expect(target.text()).toContain("\u001b[32m✓\u001b[0m Install PostgreSQL");
});

it("shows a new password once and one from the environment never", () => {
  const config = { admin_email: "admin@leoflow.local", workspace: "/home/leo/leoflow" } as never;
  const block = (newPassword: string | undefined, passwordFromEnvironment = false) =>
    readyBlock(
      { url: "http://localhost:8088", config, newPassword },
      { terminal: terminal({}), passwordFromEnvironment, took: "1.2 s" },
    );
  expect(block("abcde-fghij")).toContain("Password   abcde-fghij   (shown only this once");
  expect(block("secret", true)).not.toContain("secret");
  expect(block(undefined)).not.toContain("Password");
  expect(block(undefined)).toContain("Open       http://localhost:8088\n    Login      admin@leoflow.local");
});
