import { childEnvironment } from "../../kit/config.ts";
import { hasDatastore, withDatastore } from "../../lite/datastore.ts";
import { openDatabase } from "../../store/database.ts";
import { keptNames, type KeptNames } from "../../store/kept-names.ts";
import type { CommandContext } from "../command-context.ts";

/** What DAGs of this home find by name: of its database, and what the environment brings as Airflow reads it. */
export async function whatIsThere(context: CommandContext): Promise<KeptNames> {
  const found = hasDatastore(context.paths) ? await ofDatabase(context) : { connections: [], variables: [], pools: [] };
  const { connections, variables } = ofEnvironment(Object.keys(childEnvironment()));
  return {
    connections: [...found.connections, ...connections],
    variables: [...found.variables, ...variables],
    pools: ["default_pool", ...found.pools],
  };
}

function ofDatabase(context: CommandContext): Promise<KeptNames> {
  return withDatastore({ ...context, clusterAsItIs: true }, "look up names in", async ({ database }) => {
    const opened = openDatabase({ ...database, maxConnections: 1 });
    try {
      return await keptNames(opened.db);
    } finally {
      await opened.close();
    }
  });
}

/** AIRFLOW_CONN_MY_DB is the connection my_db; Airflow asks for the name in capitals. */
function ofEnvironment(names: readonly string[]): { connections: string[]; variables: string[] } {
  const after = (prefix: string) =>
    names.flatMap((name) => (name.startsWith(prefix) ? [name.slice(prefix.length).toLowerCase()] : []));
  return { connections: after("AIRFLOW_CONN_"), variables: after("AIRFLOW_VAR_") };
}
