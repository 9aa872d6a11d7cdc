import type { Instant } from "../../kit/instant.ts";
import type { TeamScope } from "../../domain/team.ts";
import type { ApiContext } from "../context.ts";
import type { Reason } from "./why-contract.ts";

/** What an explanation is made with; it names nothing of teams that the asker is not in. */
export type WhyContext = ApiContext & { teams: TeamScope };

/** Most things that one reason names. */
const NAMED = 10;

/** The first of a list, and how many more there are. */
export function named<T>(things: readonly T[], total = things.length): { shown: T[]; more?: number } {
  const shown = things.slice(0, NAMED);
  return total > shown.length ? { shown, more: total - shown.length } : { shown };
}

/** "a, b and 3 more". */
export function listed(names: readonly string[], more = 0): string {
  const shown = names.slice(0, NAMED);
  const left = more + names.length - shown.length;
  return left === 0 ? shown.join(", ") : `${shown.join(", ")} and ${left} more`;
}

/** `2026-01-01 12:00:00 UTC`. */
export function written(at: Instant): string {
  return `${at.slice(0, 10)} ${at.slice(11, 19)} UTC`;
}

export function taskName({ task_id, map_index }: { task_id: string; map_index: number }): string {
  return map_index < 0 ? task_id : `${task_id}[${map_index}]`;
}

export function dagPaused(dagId: string): Reason {
  return { code: "paused", message: `DAG ${dagId} is paused.` };
}
