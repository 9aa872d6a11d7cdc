import { expect, it } from "vitest";
import { Turnstile } from "./turnstile.ts";

it("lets so many go on at a time, in order, whether they fail or not", async () => {
  const turnstile = new Turnstile(2);
  const begun: number[] = [];
  const ends: (() => void)[] = [];
  const work = [1, 2, 3, 4].map((number) =>
    turnstile.run(async () => {
      begun.push(number);
      await new Promise<void>((resolve) => ends.push(resolve));
      if (number === 1) throw new Error("failed");
      return number;
    }),
  );
  const first = expect(work[0]).rejects.toThrow("failed");
  expect(begun).toEqual([1, 2]);
  ends[0]?.();
  await first;
  expect(begun).toEqual([1, 2, 3]);
  ends[1]?.();
  ends[2]?.();
  expect(await work[2]).toBe(3);
  await expect.poll(() => ends.length).toBe(4);
  ends[3]?.();
  expect(await Promise.all(work.slice(1))).toEqual([2, 3, 4]);
});
