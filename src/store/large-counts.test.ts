import { expect, it } from "vitest";
import { LargeCounts } from "./large-counts.ts";

it("counts large numbers once in a while, small ones always", async () => {
  let now = 0;
  let rows = 60_000;
  const counts = new LargeCounts(() => now);
  const ask = (key: string) => counts.get(key, async () => rows);
  expect(await ask("all")).toBe(60_000);
  rows = 60_001;
  expect(await ask("all")).toBe(60_000);
  expect(await ask("failed")).toBe(60_001);
  now = 5_001;
  expect(await ask("all")).toBe(60_001);
  rows = 10;
  expect(await ask("few")).toBe(10);
  rows = 11;
  expect(await ask("few")).toBe(11);
});
