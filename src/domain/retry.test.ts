import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { parseInstant } from "../kit/instant.ts";
import { nextRetryAt } from "./retry.ts";

type Vector = [
  delay: number,
  multiplier: number,
  limit: number | null,
  tryNumber: number,
  taskId: string,
  date: string | null,
  at: string,
];

const vectors = readFileSync(join(import.meta.dirname, "fixtures/retries.vectors"), "utf8")
  .trim()
  .split("\n");
const endDate = parseInstant("2026-03-01T12:00:00.250000Z");

it("retries when Airflow does", () => {
  for (const line of vectors) {
    const [retryDelaySeconds, retryExponentialBackoff, maxRetryDelaySeconds, tryNumber, taskId, date, at] = JSON.parse(
      line,
    ) as Vector;
    const task = { retryDelaySeconds, retryExponentialBackoff, maxRetryDelaySeconds };
    const tried = { dagId: "dag", taskId, logicalDate: date === null ? null : parseInstant(date), tryNumber };
    expect(nextRetryAt(task, tried, endDate), line).toBe(parseInstant(at));
  }
});

it("follows a retry policy's own delay", () => {
  const task = { retryDelaySeconds: 300, retryExponentialBackoff: 2, maxRetryDelaySeconds: 10 };
  const tried = { dagId: "dag", taskId: "task", logicalDate: null, tryNumber: 1 };
  expect(nextRetryAt(task, tried, endDate, 0)).toBe(endDate);
  expect(nextRetryAt(task, tried, endDate, 1.5)).toBe("2026-03-01T12:00:01.750000Z");
});
