import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mergedLines } from "./trigger-logs.ts";

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-trigger-logs-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function log(name: string) {
  const text = [1, 2, 3].map((second) => `{"timestamp":"2026-01-01T00:00:0${second}Z","event":"${name}"}\n`).join("");
  const path = join(folder, name);
  writeFileSync(path, text);
  return { path, stretch: { from: 0, to: text.length } };
}

/** How many files of the folder this process holds open. */
function openFiles(): number {
  const targets = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return targets.filter((target) => target.startsWith(folder)).length;
}

describe("mergedLines", () => {
  it.each([
    ["one log", ["try"]],
    ["several logs", ["try", "trigger.1", "trigger.2"]],
  ])("closes %s when nobody reads on", async (_, names) => {
    const lines = mergedLines(names.map(log));
    expect((await lines.next()).done).toBe(false);
    expect(openFiles()).toBe(names.length);
    await lines.return(undefined);
    expect(openFiles()).toBe(0);
  });
});
