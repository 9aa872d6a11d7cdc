import { Type } from "typebox";
import { fromJsonText, type JsonText } from "../../kit/json-text.ts";
import { findTaskInstance } from "../../store/task-instances.ts";
import { findTries } from "../../store/task-instance-tries.ts";
import { xcomValues } from "../../store/query-extra-links.ts";
import type { ApiContext, TypedApp } from "../context.ts";
import { notFound } from "../errors.ts";
import { latestGraph } from "./dag-lookup.ts";

/**
 * `…/taskInstances/{task_id}/links`. The code of an operator's links ran with the task, which left each URL in an XCom; a link
 * without one is null.
 */
export function extraLinkRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;
  app.get(
    "/dags/:dag_id/dagRuns/:dag_run_id/taskInstances/:task_id/links",
    {
      schema: {
        params: Type.Object({ dag_id: Type.String(), dag_run_id: Type.String(), task_id: Type.String() }),
        querystring: Type.Object({
          map_index: Type.Integer({ default: -1 }),
          try_number: Type.Optional(Type.Integer()),
        }),
      },
    },
    async ({ params: { dag_id: dagId, dag_run_id: runId, task_id: taskId }, query }) => {
      const place = { dagId, runId, taskId, mapIndex: query.map_index };
      const ti = await findTaskInstance(db, place);
      if (!ti) throw notFound("TaskInstance not found");
      const graph = ti.version_id ? await context.graph(ti.version_id) : await latestGraph(context, dagId);
      const task = graph.tasks.get(taskId);
      if (!task) throw notFound(`Task with ID = ${taskId} not found`);
      const { try_number: tryNumber } = query;
      if (tryNumber !== undefined && tryNumber !== ti.try_number) {
        const tries = await findTries(db, place, tryNumber);
        if (tries.length === 0) throw notFound(`TaskInstanceHistory not found for try_number=${tryNumber}`);
      }
      const values = await xcomValues(db, place, Object.values(task.operatorExtraLinks));
      const links = Object.entries(task.operatorExtraLinks)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, key]): [string, string | null] => [name, urlOf(values.get(key))]);
      return { extra_links: Object.fromEntries(links), total_entries: links.length };
    },
  );
}

function urlOf(value: JsonText | null | undefined): string | null {
  if (value === undefined || value === null) return null;
  const parsed = fromJsonText(value);
  return (typeof parsed === "string" ? parsed : value) || null;
}
