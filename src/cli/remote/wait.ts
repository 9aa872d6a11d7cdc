import { UserError } from "../../kit/user-error.ts";
import { apiPath, type Server } from "./server.ts";

const LOOK_SECONDS = 0.5;

/** How a run ended. */
export interface EndedRun {
  state: string;
  throwIfFailed(): void;
}

/** Waits for a run's end. Throws UserError when `seconds` pass before it, and where there is no such run. */
export async function waitForRun(
  server: Server,
  {
    dagId,
    runId,
    seconds,
    onState,
  }: { dagId: string; runId: string; seconds?: number; onState?: (state: string) => void },
): Promise<EndedRun> {
  const late = new AbortController();
  const timer = seconds === undefined ? undefined : setTimeout(() => late.abort(), seconds * 1000);
  let state = "queued";
  try {
    const path = apiPath`/api/v2/dags/${dagId}/dagRuns/${runId}/wait`;
    for await (const line of server.lines(path, { interval: LOOK_SECONDS }, { until: late.signal })) {
      state = (line as { state?: string } | undefined)?.state ?? state;
      onState?.(state);
    }
  } catch (error) {
    if (!late.signal.aborted) throw error;
    throw new UserError(`run ${runId} of "${dagId}" is still ${state} after ${seconds} s`, {
      fix: `\`leoflow why ${dagId} ${runId}\` says what it waits for`,
    });
  } finally {
    clearTimeout(timer);
  }
  if (state === "queued" || state === "running") {
    throw new UserError(`${server.url} stopped answering while run ${runId} was ${state}`, {
      fix: "wait for it again with `leoflow runs wait`",
    });
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
