import { assertNever } from "../kit/service.ts";
import type { TriggerRule } from "./states.ts";

/** How many of the relevant upstream task instances are in which state; `done` counts all finished ones. */
export interface UpstreamTally {
  success: number;
  skipped: number;
  failed: number;
  upstreamFailed: number;
  removed: number;
  done: number;
  successSetup: number;
  skippedSetup: number;
  /** How many there are to wait for. */
  expected: number;
  expectedSetup: number;
}

export interface Verdict {
  /** The state this task instance takes without running, or null. */
  becomes: "skipped" | "upstream_failed" | "removed" | null;
  met: boolean;
}

/**
 * What a trigger rule says of one task instance, as `TriggerRuleDep._evaluate_direct_relatives` (Airflow 3.3.2) does while
 * scheduling. A map index can be removed when its source shrank.
 */
export function evaluateTriggerRule(rule: TriggerRule, tally: UpstreamTally, mapIndex: number): Verdict {
  const becomes = stateWithoutRunning(rule, tally, mapIndex);
  return { becomes, met: becomes === null && isMet(rule, tally) };
}

/** Setups that reach a task indirectly must all succeed, whatever its own rule (`_evaluate_setup_constraint`). */
export function evaluateSetups(tally: UpstreamTally, mapIndex: number): Verdict {
  const missing = tally.expected - tally.success - (mapIndex > -1 ? tally.removed : 0);
  return { becomes: stateOfAllSuccess(tally, mapIndex), met: missing <= 0 };
}

function stateOfAllSuccess(tally: UpstreamTally, mapIndex: number): Verdict["becomes"] {
  if (tally.upstreamFailed || tally.failed) return "upstream_failed";
  if (tally.skipped) return "skipped";
  if (tally.removed && tally.success && mapIndex > -1 && mapIndex >= tally.success) return "removed";
  return null;
}

function stateWithoutRunning(rule: TriggerRule, tally: UpstreamTally, mapIndex: number): Verdict["becomes"] {
  const { success, skipped, failed, upstreamFailed, removed, done, expected } = tally;
  const allDone = done >= expected;
  switch (rule) {
    case "all_success":
      return stateOfAllSuccess(tally, mapIndex);
    case "all_failed":
      return success || skipped ? "skipped" : null;
    case "one_success":
      if (allDone && done === skipped) return "skipped";
      return allDone && success <= 0 ? "upstream_failed" : null;
    case "one_failed":
      return allDone && !failed && !upstreamFailed ? "skipped" : null;
    case "one_done":
      return allDone && !failed && !success ? "skipped" : null;
    case "none_failed":
      return upstreamFailed || failed ? "upstream_failed" : null;
    case "none_failed_min_one_success":
      if (upstreamFailed || failed) return "upstream_failed";
      if (skipped === expected) return "skipped";
      return allDone && success === 0 ? "upstream_failed" : null;
    case "none_skipped":
      return skipped ? "skipped" : null;
    case "all_skipped":
      return success || failed || upstreamFailed ? "skipped" : null;
    case "all_done_min_one_success":
      if (skipped > 0) return "skipped";
      return success + failed + upstreamFailed + removed >= expected - skipped && success === 0
        ? "upstream_failed"
        : null;
    case "all_done_setup_success":
      if (!allDone || !tally.expectedSetup) return null;
      if (tally.skippedSetup >= tally.expectedSetup) return "skipped";
      return tally.successSetup === 0 ? "upstream_failed" : null;
    case "all_done":
    case "always":
      return null;
    default:
      return assertNever(rule);
  }
}

function isMet(rule: TriggerRule, tally: UpstreamTally): boolean {
  const { success, skipped, failed, upstreamFailed, removed, done, expected } = tally;
  switch (rule) {
    case "all_success":
      return expected - success - removed <= 0;
    case "all_failed":
      return expected - failed - upstreamFailed - removed <= 0;
    case "one_success":
      return success > 0;
    case "one_failed":
      return failed > 0 || upstreamFailed > 0;
    case "one_done":
      return success + failed > 0;
    case "none_failed":
      return expected - success - skipped - removed <= 0;
    case "none_failed_min_one_success":
      return expected - success - skipped - removed <= 0 && success > 0;
    case "none_skipped":
      return done >= expected && skipped === 0;
    case "all_skipped":
      return expected - skipped <= 0;
    case "all_done":
      return done >= expected;
    case "all_done_min_one_success":
      return skipped === 0 && success + failed + upstreamFailed >= expected - skipped - removed && success > 0;
    case "all_done_setup_success":
      return done >= expected && (tally.expectedSetup === 0 || tally.successSetup > 0);
    case "always":
      return true;
    default:
      return assertNever(rule);
  }
}
