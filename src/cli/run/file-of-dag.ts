import { UserError } from "../../kit/user-error.ts";
import { withDatastore } from "../../lite/datastore.ts";
import { openDatabase } from "../../store/database.ts";
import { findDagRow } from "../../store/query-dags.ts";
import type { CommandContext } from "../command-context.ts";

/** The file that defines a DAG of this home, whether Leoflow runs or not. Throws UserError where there is none. */
export async function fileOfDag(context: CommandContext, dagId: string): Promise<string> {
  const dag = await withDatastore(context, "test", async ({ database }) => {
    const opened = openDatabase({ ...database, maxConnections: 1 });
    try {
      return await findDagRow(opened.db, dagId);
    } finally {
      await opened.close();
    }
  });
  if (dag && !dag.is_stale) return dag.fileloc;
  throw new UserError(`this home has no DAG ${dagId}`, { fix: "`leoflow run FILE` runs a DAG of any file" });
}
