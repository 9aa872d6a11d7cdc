import type { Instant } from "../kit/instant.ts";
import { addDagCallback, type RelevantTry } from "./callbacks.ts";
import type { Database } from "./database.ts";
import { pruneDeadlines } from "./deadlines.ts";
import { finishRuns } from "./live-runs.ts";

export interface RunEnd {
  id: number;
  state: "success" | "failed";
  /** Airflow's word for why, which its callbacks are told. */
  reason: string;
  now: Instant;
  /** Which task the DAG's callback is told of; "no-callback": there is none to call. */
  callback: RelevantTry | "no-callback";
  hasDeadlines: boolean;
}

/** `finishRuns` for one of a DAG that has callbacks or deadlines: with the run's state, both are settled in one transaction. */
export async function finishRunWithMore(db: Database, end: RunEnd): Promise<boolean> {
  return await db.transaction().execute(async (trx) => {
    if ((await finishRuns(trx, [end], end.now)).size === 0) return false;
    if (end.callback !== "no-callback") {
      await addDagCallback(trx, { ...end, relevant: end.callback });
    }
    if (end.hasDeadlines && end.state === "success") await pruneDeadlines(trx, end.id);
    return true;
  });
}
