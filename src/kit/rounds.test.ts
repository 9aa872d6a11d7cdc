import { expect, it } from "vitest";
import { Rounds } from "./rounds.ts";

it("works one round at a time for each key, and once more for whatever is asked meanwhile", async () => {
  const begun: string[] = [];
  const ends: (() => void)[] = [];
  const rounds = new Rounds<string>(async (key) => {
    begun.push(key);
    await new Promise<void>((resolve) => ends.push(resolve));
  });
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  rounds.ask("a");
  rounds.ask("a");
  rounds.ask("b");
  await turn();
  expect(begun).toEqual(["a", "b"]);
  rounds.ask("a");
  rounds.ask("a");
  await turn();
  expect(begun).toEqual(["a", "b"]);
  ends[0]?.();
  await turn();
  expect(begun).toEqual(["a", "b", "a"]);
  let isSettled = false;
  const settled = rounds.settled().then(() => (isSettled = true));
  ends[1]?.();
  await turn();
  expect(isSettled).toBe(false);
  ends[2]?.();
  await settled;
  expect(begun).toHaveLength(3);
});
