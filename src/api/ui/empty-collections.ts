import { Type } from "typebox";
import { findDagVersion } from "../../store/query-dag-versions.ts";
import { dagRunState } from "../../store/query-dag-runs.ts";
import type { ApiContext, TypedApp } from "../context.ts";
import { notFound } from "../errors.ts";

/** Pages about features that no DAG here can have yet: truthfully empty. */
export function emptyCollectionRoutes(app: TypedApp, { db }: ApiContext): void {
  const DagParams = Type.Object({ dag_id: Type.String() });
  const RunParams = Type.Object({ dag_id: Type.String(), dag_run_id: Type.String() });
  app.get("/dags/:dag_id/dagRuns/:dag_run_id/deadlines", { schema: { params: RunParams } }, async (request) => {
    const { dag_id, dag_run_id } = request.params;
    const isOne = dag_id !== "~" && dag_run_id !== "~";
    if (isOne && (await dagRunState(db, dag_id, dag_run_id)) === undefined) {
      throw notFound(`DagRun with dag_id: \`${dag_id}\` and run_id: \`${dag_run_id}\` was not found`);
    }
    return { deadlines: [], total_entries: 0 };
  });

  const VersionQuery = Type.Object({ version_number: Type.Optional(Type.Integer()) });
  app.get(
    "/dags/:dag_id/deadlineAlerts",
    { schema: { params: DagParams, querystring: VersionQuery } },
    async (request) => {
      const { dag_id } = request.params;
      const { version_number } = request.query;
      if (!(await findDagVersion(db, dag_id, version_number))) {
        const which = version_number === undefined ? "" : ` and version number ${version_number}`;
        throw notFound(`Dag with id ${dag_id}${which} was not found`);
      }
      return { deadline_alerts: [], total_entries: 0 };
    },
  );
}
