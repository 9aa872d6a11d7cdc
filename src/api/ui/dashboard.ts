import { Type } from "typebox";
import { DAG_RUN_STATES, TASK_INSTANCE_STATES } from "../../domain/states.ts";
import { countStates, dagStats } from "../../store/ui-dashboard.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { InstantText, toInstant } from "../schema.ts";

/** Beyond this many rows the counts are lower bounds. */
const EXACT_COUNT_LIMIT = 50_000;

/** The home page's numbers. */
export function dashboardRoutes(app: TypedApp, { db, kit }: ApiContext): void {
  app.get("/dashboard/dag_stats", async (request) => {
    const { active, failed, running, queued } = await dagStats(db, teamsOf(request));
    return {
      active_dag_count: active,
      failed_dag_count: failed,
      running_dag_count: running,
      queued_dag_count: queued,
    };
  });

  const Query = Type.Object({ start_date: InstantText, end_date: Type.Optional(InstantText) });
  app.get("/dashboard/historical_metrics_data", { schema: { querystring: Query } }, async (request) => {
    const { start_date, end_date } = request.query;
    const window = {
      from: toInstant(start_date, ["query", "start_date"]),
      to: end_date ? toInstant(end_date, ["query", "end_date"]) : kit.clock.now(),
      teams: teamsOf(request),
    };
    const { runs, taskInstances } = await countStates(db, window, EXACT_COUNT_LIMIT + 1);
    const dagRuns = tally(runs, DAG_RUN_STATES);
    const tasks = tally(taskInstances, ["no_status", ...TASK_INSTANCE_STATES]);
    return {
      dag_run_states: dagRuns.counts,
      task_instance_states: tasks.counts,
      dag_run_counts_are_lower_bounds: dagRuns.areLowerBounds,
      task_instance_counts_are_lower_bounds: tasks.areLowerBounds,
    };
  });
}

function tally(found: readonly { state: string | null; count: number }[], states: readonly string[]) {
  const total = found.reduce((sum, { count }) => sum + count, 0);
  const areLowerBounds = total > EXACT_COUNT_LIMIT;
  const counts = Object.fromEntries(states.map((state) => [state, 0]));
  for (const { state, count } of found) counts[state ?? "no_status"] = areLowerBounds ? roundDown(count) : count;
  return { counts, areLowerBounds };
}

/** To two significant digits, never upwards: that would claim rows nobody counted. */
function roundDown(count: number): number {
  const step = 10 ** Math.max(0, String(count).length - 2);
  return Math.floor(count / step) * step;
}
