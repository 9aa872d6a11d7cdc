import type { DagGraph } from "../../domain/dag-graph.ts";
import { currentVersionId, findDagVersion, type DagVersionSummary } from "../../store/query-dag-versions.ts";
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

/** A version by its number, the newest when none is given, or the 404 of Airflow's UI API. */
export async function requireVersion(
  db: ApiContext["db"],
  dagId: string,
  versionNumber: number | undefined,
): Promise<DagVersionSummary> {
  const version = await findDagVersion(db, dagId, versionNumber);
  if (version) return version;
  const which = versionNumber === undefined ? "" : ` and version number ${versionNumber}`;
  throw notFound(`Dag with id ${dagId}${which} was not found`);
}

export function dagRunNotFound(dagId: string, runId: string) {
  return notFound(`The DagRun with dag_id: \`${dagId}\` and run_id: \`${runId}\` was not found`);
}
