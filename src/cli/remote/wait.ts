import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../../kit/user-error.ts";
import { apiPath, ServerAnswer, type Server } from "./server.ts";

const LOOK_SECONDS = 0.5;
/** A Leoflow that is started anew is back within this. */
const RETURN_MS = 30_000;

/** How a run ended. */
export interface EndedRun {
  state: string;
  throwIfFailed(): void;
}

/** Waits for a run's end. Throws UserError when `seconds` pass before it, and where there is no such run. */
export async function waitForRun(
  server: Server,
  { dagId, runId, seconds }: { dagId: string; runId: string; seconds?: number },
): Promise<EndedRun> {
  const late = new AbortController();
  const timer = seconds === undefined ? undefined : setTimeout(() => late.abort(), seconds * 1000);
  let state = "queued";
  const path = apiPath`/api/v2/dags/${dagId}/dagRuns/${runId}/wait`;
  try {
    // A server that has answered once may go away and come back.
    for (let lostAt = 0; !isOver(state);) {
      try {
        for await (const line of server.lines(path, { interval: LOOK_SECONDS }, { until: late.signal })) {
          state = (line as { state?: string } | undefined)?.state ?? state;
          lostAt = performance.now();
        }
      } catch (error) {
        if (late.signal.aborted) throw stillOn(dagId, runId, state, seconds);
        const isRefusal = error instanceof ServerAnswer && error.status < 500;
        if (isRefusal || lostAt === 0 || performance.now() - lostAt > RETURN_MS) throw error;
      }
      if (!isOver(state)) await sleep(LOOK_SECONDS * 1000, undefined, { signal: late.signal }).catch(() => undefined);
    }
  } finally {
    clearTimeout(timer);
  }
  return {
    state,
    throwIfFailed() {
      if (state === "success") return;
      throw new UserError(`run ${runId} of "${dagId}" failed`, {
        fix: `\`leoflow tasks states ${dagId} ${runId}\` shows which of its tasks did`,
      });
    },
  };
}

const isOver = (state: string) => state === "success" || state === "failed";

function stillOn(dagId: string, runId: string, state: string, seconds: number | undefined): UserError {
  return new UserError(`run ${runId} of "${dagId}" is still ${state} after ${seconds} s`, {
    fix: `\`leoflow why ${dagId} ${runId}\` says what it waits for`,
  });
}
