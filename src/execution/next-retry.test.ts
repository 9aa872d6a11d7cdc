import { expect, it } from "vitest";
import { instantMicros, parseInstant } from "../kit/instant.ts";
import { NOON } from "../../test/support/factories.ts";
import { nextRetryAt } from "./next-retry.ts";

// Expected seconds are what TaskInstance.next_retry_datetime of Airflow 3.3.2 gave.
it.each([
  [300, 0, null, 1, "2026-01-01T12:00:00Z", 300],
  [60, 1, null, 3, "2026-01-01T12:00:00Z", 60],
  [300, 2, null, 1, "2026-01-01T12:00:00Z", 521],
  [300, 2, null, 3, "2026-01-01T12:00:00Z", 2323],
  [300, 2, null, 3, null, 2272],
  [300, 2, null, 2, "2026-01-01T12:00:00.000005Z", 623],
  [300, 2, 600, 5, "2026-01-01T12:00:00Z", 600],
  [0, 2, null, 2, "2026-01-01T12:00:00Z", 1],
  [0.5, 3, null, 2, "2026-01-01T12:00:00.000005Z", 3],
  [60, 2, null, 60, "2026-01-01T12:00:00Z", 86_400],
  [60, 2, null, 2000, "2026-01-01T12:00:00Z", 86_400],
  [0.25, 0, null, 1, null, 0.25],
])("waits as Airflow does: %o s × %o (at most %o), try %i, logical date %s", (...row) => {
  const [retryDelaySeconds, retryExponentialBackoff, maxRetryDelaySeconds, tryNumber, date, seconds] = row;
  const at = nextRetryAt(
    { retryDelaySeconds, retryExponentialBackoff, maxRetryDelaySeconds },
    { dagId: "d", taskId: "a", logicalDate: date === null ? null : parseInstant(date), tryNumber, endDate: NOON },
  );
  expect((instantMicros(at) - instantMicros(NOON)) / 1_000_000).toBe(seconds);
});
