import { chmodSync, mkdirSync, openSync, writeSync } from "node:fs";
import { expect, it } from "vitest";
import { UserError } from "../kit/user-error.ts";
import { describeError } from "./errors.ts";

function thrown(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
}

it("tells what a disk says without a stack", () => {
  expect(describeError(thrown(() => chmodSync("/proc/self/status", 0o777)))).toMatch(
    /^error: not permitted: \/proc\/self\/status\n {2}fix: .+\n$/,
  );
  expect(describeError(thrown(() => writeSync(openSync("/dev/full", "w"), "x")))).toMatch(
    /^error: the disk is full: ENOSPC: .+\n {2}fix: free some space and run the same command again\n$/,
  );
});

it("shows a stack of what it does not know, and none of what it has words for", () => {
  expect(describeError(thrown(() => mkdirSync("/proc/none/none")))).toMatch(
    /^error: Error: ENOENT.+\n {4}at .*fault of Leoflow's own/s,
  );
  expect(describeError(new UserError("no", { fix: "yes" }))).toBe("error: no\n  fix: yes\n");
});
