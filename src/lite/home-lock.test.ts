import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { acquireHomeLock, type LockHolder } from "./home-lock.ts";

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-test-"));
  file = join(folder, "lite.lock");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function acquire() {
  const result = await acquireHomeLock(file);
  if ("heldBy" in result) throw new Error("held");
  return result.lock;
}

it("names the holder and its URL to a second one, and is free after a release", async () => {
  const lock = await acquire();
  expect(await acquireHomeLock(file)).toMatchObject({ heldBy: { pid: process.pid } });
  lock.announce("http://localhost:8088");
  expect(await acquireHomeLock(file)).toMatchObject({ heldBy: { url: "http://localhost:8088" } });
  lock.release();
  lock.release();
  (await acquire()).release();
});

it.each([
  ["of a process that is gone", { pid: 2 ** 22 + 1, started: "1" }],
  ["whose number went to another process", { pid: process.pid, started: "1" }],
  ["that says nothing", {}],
])("a lock %s is taken over", async (_what, left) => {
  writeFileSync(file, JSON.stringify(left));
  await acquire();
  expect((JSON.parse(readFileSync(file, "utf8")) as LockHolder).pid).toBe(process.pid);
});
