import { Type, type Static } from "typebox";
import { DAG_RUN_STATES, DAG_RUN_TYPES } from "../../domain/states.ts";
import { formatInstant, instantMicros } from "../../kit/instant.ts";
import { gridRuns, gridVersions, taskStatesOfRuns, type GridSelection, type TaskStates } from "../../store/ui-grid.ts";
import type { ApiContext, TypedApp } from "../context.ts";
import { notFound } from "../errors.ts";
import { instantRangeOf, instantRangeQuery, orderByQuery, orderOf, pageOf, pageQuery } from "../query.ts";
import { enumOf } from "../schema.ts";
import { toDagVersionResponse } from "../serialize.ts";
import { gridNodes, mergeGridNodes, type GridNode } from "./graph-nodes.ts";
import { partOf } from "./graph-part.ts";
import { summarizeRun } from "./grid-summaries.ts";

const DagParams = Type.Object({ dag_id: Type.String() });
const runsQuery = {
  ...pageQuery,
  ...orderByQuery,
  ...instantRangeQuery("run_after"),
  run_type: Type.Optional(Type.Array(enumOf(DAG_RUN_TYPES))),
  state: Type.Optional(Type.Array(enumOf([...DAG_RUN_STATES, "none"]))),
  triggering_user: Type.Optional(Type.String()),
  triggering_user_prefix: Type.Optional(Type.String()),
};
const RunsQuery = Type.Object(runsQuery);

/** The filter by which the UI shows a part of a DAG. */
export const partQuery = {
  include_upstream: Type.Boolean({ default: false }),
  include_downstream: Type.Boolean({ default: false }),
  depth: Type.Optional(Type.Integer({ minimum: 0 })),
  root: Type.Optional(Type.String()),
};

/** The grid: its rows, its columns, its squares. */
export function gridRoutes(app: TypedApp, context: ApiContext): void {
  const { db, kit } = context;
  app.get("/grid/runs/:dag_id", { schema: { params: DagParams, querystring: RunsQuery } }, async (request) => {
    const runs = await gridRuns(db, request.params.dag_id, selectionOf(request.query));
    const now = kit.clock.now();
    return runs.map((run) => {
      const { dag_id, run_id, queued_at, start_date, end_date, state, run_type, has_note } = run;
      const seconds = start_date ? (instantMicros(end_date ?? now) - instantMicros(start_date)) / 1e6 : 0;
      return {
        dag_id,
        run_id,
        ...(queued_at ? { queued_at: formatInstant(queued_at) } : {}),
        ...(start_date ? { start_date: formatInstant(start_date) } : {}),
        ...(end_date ? { end_date: formatInstant(end_date) } : {}),
        run_after: formatInstant(run.run_after),
        state,
        run_type,
        dag_versions: run.dag_versions.map(toDagVersionResponse),
        has_missed_deadline: run.has_missed_deadline,
        has_note,
        duration: seconds,
      };
    });
  });

  const StructureQuery = Type.Object({ ...runsQuery, ...partQuery });
  app.get(
    "/grid/structure/:dag_id",
    { schema: { params: DagParams, querystring: StructureQuery } },
    async (request): Promise<GridNode[]> => {
      const { dag_id } = request.params;
      const { query } = request;
      const versions = await gridVersions(db, dag_id, selectionOf(query));
      if (!versions) throw notFound(`Dag with id ${dag_id} was not found`);
      const wanted = {
        root: query.root,
        includeUpstream: query.include_upstream,
        includeDownstream: query.include_downstream,
        depth: query.depth,
      };
      const graphs = await Promise.all([versions.current, ...versions.others].map((id) => context.graph(id)));
      return graphs.map((version) => gridNodes(partOf(version, wanted))).reduce(mergeGridNodes);
    },
  );

  const SummariesQuery = Type.Object({ run_ids: Type.Optional(Type.Array(Type.String())) });
  app.get(
    "/grid/ti_summaries/:dag_id",
    { schema: { params: DagParams, querystring: SummariesQuery } },
    async (request, reply) => {
      const { dag_id } = request.params;
      const { run_ids = [] } = request.query;
      const byRun = new Map<string, TaskStates[]>();
      for (const row of run_ids.length > 0 ? await taskStatesOfRuns(db, dag_id, run_ids) : []) {
        const rows = byRun.get(row.run_id);
        if (rows) rows.push(row);
        else byRun.set(row.run_id, [row]);
      }
      const lines: string[] = [];
      for (const run_id of run_ids) {
        const rows = byRun.get(run_id);
        const versionId = rows?.find((row) => row.dag_version_id !== null)?.dag_version_id;
        if (!rows || !versionId) continue;
        const task_instances = summarizeRun(await context.graph(versionId), rows);
        lines.push(`${JSON.stringify({ run_id, dag_id, task_instances })}\n`);
      }
      return reply.type("application/x-ndjson").send(lines.join(""));
    },
  );
}

function selectionOf(query: Static<typeof RunsQuery>): GridSelection {
  const { triggering_user, triggering_user_prefix } = query;
  return {
    filter: {
      runAfter: instantRangeOf(query, "run_after"),
      runTypes: query.run_type,
      states: query.state?.map((state) => (state === "none" ? null : state)),
      triggeringUser: {
        ...(triggering_user ? { substring: triggering_user } : {}),
        ...(triggering_user_prefix ? { prefix: triggering_user_prefix } : {}),
      },
    },
    orders: orderOf(query.order_by, {
      allowed: ["run_after", "logical_date", "start_date", "end_date"],
      primaryKey: "id",
      fallback: ["run_after"],
    }),
    page: pageOf(query),
  };
}
