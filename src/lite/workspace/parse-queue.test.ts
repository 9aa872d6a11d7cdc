import { expect, it, vi } from "vitest";
import { ParseQueue } from "./parse-queue.ts";

function makeQueue() {
  const started: string[] = [];
  const finish = new Map<string, () => void>();
  const queue = new ParseQueue(
    (relPath) => (relPath.startsWith("p/") ? { name: "projects", limit: 1 } : { name: "base", limit: 2 }),
    (relPath) => {
      started.push(relPath);
      return new Promise((done) => finish.set(relPath, done));
    },
  );
  const end = async (relPath: string) => {
    finish.get(relPath)?.();
    await vi.waitFor(() => expect(queue.running + queue.waiting).toBeGreaterThanOrEqual(0));
  };
  return { queue, started, end };
}

it("runs a few at a time in each lane, saves before the backlog", async () => {
  const { queue, started, end } = makeQueue();
  for (const file of ["p/1", "p/2", "a", "b", "c"]) queue.add(file, false);
  queue.add("d", true);
  queue.add("c", true);
  expect(started).toEqual(["p/1", "a", "b"]);
  expect([queue.running, queue.waiting]).toEqual([3, 3]);
  await end("a");
  await end("b");
  await end("p/1");
  expect(started.slice(3)).toEqual(["d", "c", "p/2"]);
});

it("runs a file again that was added while it ran, and not twice at once", async () => {
  const { queue, started, end } = makeQueue();
  queue.add("a", false);
  queue.add("a", false);
  queue.add("a", true);
  expect(started).toEqual(["a"]);
  await end("a");
  expect(started).toEqual(["a", "a"]);
  await end("a");
  expect([queue.running, queue.waiting]).toEqual([0, 0]);
});

it("forgets what was removed", async () => {
  const { queue, started, end } = makeQueue();
  for (const file of ["a", "b", "c"]) queue.add(file, false);
  queue.add("a", false);
  queue.remove("c");
  queue.remove("a");
  await end("a");
  await end("b");
  expect(started).toEqual(["a", "b"]);
});
