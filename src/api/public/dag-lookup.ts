import type { DagGraph } from "../../domain/dag-graph.ts";
import { currentVersionId } from "../../store/query-dag-versions.ts";
import type { ApiContext } from "../context.ts";
import { notFound } from "../errors.ts";

/** The graph of the DAG's newest version, or Airflow's 404. */
export async function latestGraph(context: ApiContext, dagId: string): Promise<DagGraph> {
  return await context.graph(await requireDag(context, dagId));
}

/** The id of the DAG's newest version, or Airflow's 404. */
export async function requireDag(context: ApiContext, dagId: string): Promise<string> {
  const versionId = await currentVersionId(context.db, dagId);
  if (versionId === undefined) throw notFound(`The Dag with ID: \`${dagId}\` was not found`);
  return versionId;
}

export function dagRunNotFound(dagId: string, runId: string) {
  return notFound(`The DagRun with dag_id: \`${dagId}\` and run_id: \`${runId}\` was not found`);
}
