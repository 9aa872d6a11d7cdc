import { Type } from "typebox";
import { DAG_RUN_STATES } from "../../domain/states.ts";
import { countRunsByState } from "../../store/query-dag-runs.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";

/** `/dagStats`: runs per DAG and state; DAGs without runs are not listed. */
export function dagStatsRoutes(app: TypedApp, context: ApiContext): void {
  const query = Type.Object({ dag_ids: Type.Optional(Type.Array(Type.String())) });
  app.get("/dagStats", { schema: { querystring: query } }, async (request) => {
    const counts = await countRunsByState(context.db, request.query.dag_ids, teamsOf(request));
    const dags = new Map<string, { dag_display_name: string; counts: Map<string, number> }>();
    for (const { dag_id: dagId, dag_display_name, state, count } of counts) {
      const dag = dags.get(dagId) ?? { dag_display_name, counts: new Map<string, number>() };
      dag.counts.set(state, count);
      dags.set(dagId, dag);
    }
    return {
      dags: [...dags].map(([dagId, dag]) => ({
        dag_id: dagId,
        dag_display_name: dag.dag_display_name,
        // Airflow's order of states.
        stats: DAG_RUN_STATES.map((state) => ({ state, count: dag.counts.get(state) ?? 0 })),
      })),
      total_entries: dags.size,
    };
  });
}
