import { describe, expect, it } from "vitest";
import { Batcher } from "./batcher.ts";

describe("Batcher", () => {
  it("does what is asked at once in one call, and what comes meanwhile in the next", async () => {
    const calls: number[][] = [];
    let release = (): void => undefined;
    const batcher = new Batcher(async (items: number[]) => {
      calls.push(items);
      await new Promise<void>((resolve) => (release = resolve));
      return items.map((item) => item * 2);
    });
    const first = [batcher.run(1), batcher.run(2)];
    await Promise.resolve();
    await Promise.resolve();
    const later = [batcher.run(3), batcher.run(4)];
    release();
    expect(await Promise.all(first)).toEqual([2, 4]);
    release();
    expect(await Promise.all(later)).toEqual([6, 8]);
    expect(calls).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });

  it("fails those of a failed call only", async () => {
    let fails = true;
    const batcher = new Batcher(async (items: number[]) => {
      if (fails) throw new Error("no");
      return items;
    });
    await expect(batcher.run(1)).rejects.toThrow("no");
    fails = false;
    expect(await batcher.run(2)).toBe(2);
  });
});

it("waits a moment for others where nobody is in a hurry", async () => {
  const batches: number[][] = [];
  const batcher = new Batcher<number, number>(async (items) => {
    batches.push(items);
    return items;
  }, 20);
  const first = batcher.run(1);
  await Promise.resolve().then(() => Promise.resolve());
  expect(await Promise.all([first, batcher.run(2)])).toEqual([1, 2]);
  expect(batches).toEqual([[1, 2]]);
});
