import { byStartOrder, heedsPause, startGroup, startHold, startLimit } from "../../domain/run-start.ts";
import { assertNever } from "../../kit/service.ts";
import { backfillLimits } from "../../store/backfills.ts";
import type { RunStanding } from "../../store/waiting-work.ts";
import type { ApiContext } from "../context.ts";
import type { Reason } from "./why-contract.ts";
import { listed, named, written } from "./why-reason.ts";

export const namedRun = ({ dag_id, run_id, state }: RunStanding) => ({ dag_id, run_id, state });

/** What keeps a queued run from starting. `live` are the DAG's queued and running runs. */
export async function whyRunWaits(
  context: ApiContext,
  run: RunStanding,
  live: readonly RunStanding[],
  isDagPaused: boolean,
): Promise<Reason[]> {
  const { db, kit } = context;
  const graph = run.dag_version_id === null ? null : await context.graph(run.dag_version_id);
  const backfill = run.backfill_id === null ? null : await backfillLimits(db, run.backfill_id);
  const likeIt = live.filter((other) => startGroup(other) === startGroup(run) && other.id !== run.id);
  const running = likeIt.filter(({ state }) => state === "running");
  const facts = {
    isDagPaused: isDagPaused && heedsPause(run),
    runAfter: run.run_after,
    backfill,
    maxActiveRuns: graph?.maxActiveRuns ?? null,
    running: running.length,
  };
  const hold = startHold(facts, kit.clock.now());
  const theRun = `Run ${run.run_id}`;
  const ofBackfill = run.backfill_id === null ? {} : { backfill_id: run.backfill_id };
  switch (hold) {
    case null:
      return [{ code: "starting", message: `${theRun} is queued, and nothing holds it: it starts at once.` }];
    case "paused":
      return [{ code: hold, message: `${theRun} is queued: DAG ${run.dag_id} is paused.` }];
    case "run_after":
      return [{ code: hold, message: `${theRun} starts at ${written(run.run_after)}.`, until: run.run_after }];
    case "backfill_paused":
      return [{ code: hold, message: `${theRun} is queued: backfill ${run.backfill_id} is paused.`, ...ofBackfill }];
    case "max_active_runs": {
      const limit = startLimit(facts) ?? 0;
      const whose = backfill ? `of backfill ${run.backfill_id}` : `of DAG ${run.dag_id}`;
      const { shown, more } = named(running);
      const ahead = queuedBefore(run, likeIt);
      const first = named(ahead);
      const held: Reason = {
        code: hold,
        limit,
        message: `${theRun} is queued: max_active_runs=${limit} ${whose} is reached by ${listed(
          shown.map(({ run_id: id }) => id),
          more,
        )}.`,
        dag_runs: shown.map(namedRun),
        ...ofBackfill,
        ...(more === undefined ? {} : { more }),
      };
      if (ahead.length === 0) return [held];
      const behind: Reason = {
        code: "queued_behind",
        message: `Before it in the queue: ${listed(
          first.shown.map(({ run_id: id }) => id),
          first.more,
        )}.`,
        dag_runs: first.shown.map(namedRun),
        ...(first.more === undefined ? {} : { more: first.more }),
      };
      return [held, behind];
    }
    default:
      return assertNever(hold);
  }
}

/** Those that start before it. `live` is in the order of time, which the sort keeps. */
function queuedBefore(run: RunStanding, likeIt: readonly RunStanding[]): RunStanding[] {
  const queue = [...likeIt.filter(({ state }) => state === "queued"), run];
  queue.sort(
    (a, b) => byStartOrder(a, b) || (a.run_after < b.run_after ? -1 : a.run_after > b.run_after ? 1 : a.id - b.id),
  );
  return queue.slice(0, queue.indexOf(run));
}
