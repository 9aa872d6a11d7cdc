import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { Type } from "typebox";
import { dagRunResults, dagRunState } from "../../store/query-dag-runs.ts";
import type { ApiContext, TypedApp } from "../context.ts";
import { RawText, stringifyWithRaw } from "../raw-json.ts";
import { dagRunNotFound } from "./dag-lookup.ts";

type Results = Record<string, RawText | null | (RawText | null)[]>;

/** `GET …/dagRuns/{id}/wait`: a line of JSON per look at the run, until it has finished. */
export function dagRunWaitRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;

  app.get(
    "/dags/:dag_id/dagRuns/:dag_run_id/wait",
    {
      schema: {
        params: Type.Object({ dag_id: Type.String(), dag_run_id: Type.String() }),
        querystring: Type.Object({
          interval: Type.Number({ exclusiveMinimum: 0 }),
          result: Type.Optional(Type.Array(Type.String())),
        }),
      },
    },
    async ({ params, query, raw }, reply) => {
      const { dag_id: dagId, dag_run_id: runId } = params;
      if ((await dagRunState(db, dagId, runId)) === undefined) throw dagRunNotFound(dagId, runId);
      const gone = new AbortController();
      raw.once("close", () => gone.abort());
      const lines = look(dagId, runId, query.interval * 1000, query.result ?? null, gone.signal);
      return await reply.type("application/x-ndjson").send(Readable.from(lines, { objectMode: false }));
    },
  );

  async function* look(
    dagId: string,
    runId: string,
    intervalMs: number,
    taskIds: readonly string[] | null,
    gone: AbortSignal,
  ): AsyncGenerator<string> {
    while (!gone.aborted) {
      const state = await dagRunState(db, dagId, runId);
      if (state === undefined) return;
      if (state === "success" || state === "failed") {
        const results = await resultsOf(dagId, runId, taskIds);
        yield `${stringifyWithRaw(Object.keys(results).length > 0 ? { state, results } : { state })}\n`;
        return;
      }
      yield `${JSON.stringify({ state })}\n`;
      await sleep(intervalMs, undefined, { signal: gone }).catch(() => undefined);
    }
  }

  /** By task id; a mapped task's values as a list. */
  async function resultsOf(dagId: string, runId: string, taskIds: readonly string[] | null): Promise<Results> {
    const rows = await dagRunResults(db, dagId, runId, taskIds);
    const results: Results = {};
    for (const row of rows) {
      const value = row.value === null ? null : new RawText(row.value);
      if (row.map_index < 0) results[row.task_id] = value;
      else {
        const list = results[row.task_id];
        results[row.task_id] = Array.isArray(list) ? [...list, value] : [value];
      }
    }
    return results;
  }
}
