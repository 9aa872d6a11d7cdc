import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { instantFromMicros, instantMicros, parseInstant } from "../../kit/instant.ts";
import { BadCronError, Cron } from "./cron.ts";

/** What croniter makes of random expressions (cron_vectors.py); "!Name" is an exception. */
type Vector = [expression: string, at: string, next: string, previous: string, coversEveryHour: boolean | null];

const vectors = readFileSync(join(import.meta.dirname, "cron.vectors"), "utf8")
  .trim()
  .split("\n");

it("reads random expressions as croniter does", () => {
  const written = (wall: number | null): string =>
    wall === null ? "!CroniterBadDateError" : instantFromMicros(wall).slice(0, 19);
  for (const line of vectors) {
    const [expression, at, next, previous, coversEveryHour] = JSON.parse(line) as Vector;
    if (coversEveryHour === null) {
      expect(() => new Cron(expression), line).toThrow(BadCronError);
      continue;
    }
    const cron = new Cron(expression);
    const wall = instantMicros(parseInstant(at));
    expect([written(cron.next(wall)), written(cron.previous(wall)), cron.coversEveryHour], line).toEqual([
      next,
      previous,
      coversEveryHour,
    ]);
  }
});
