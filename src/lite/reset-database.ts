import { createStagingDatabase, dropDatabase, swapDatabases, withServer } from "../backup/staging-database.ts";
import type { Environment } from "../kit/config.ts";
import { openDatabase } from "../store/database.ts";
import { migrate } from "../store/migrate.ts";
import { readConfigFile } from "./config-file.ts";
import { startingPostgres, withHomeToItself, type DatastoreOptions } from "./datastore.ts";
import { removeOlder, writeSnapshot } from "./snapshots.ts";

const FRESH = "leoflow_resetting";
const REPLACED = "leoflow_before_reset";
const KIND = "before-reset";

/**
 * Replaces a home's database by an empty one at this build's schema. All of it is archived among the snapshots first, and the one
 * moment that counts is a renaming. Returns the archive's path. Throws UserError while Leoflow runs.
 */
export function resetDatabase(
  options: DatastoreOptions & { environment: Pick<Environment, "userHome"> },
): Promise<string> {
  const { paths, environment, progress, signal } = options;
  return withHomeToItself(paths, () =>
    startingPostgres(options, async ({ database, bin }) => {
      const workspace = readConfigFile(paths, environment)?.workspace;
      const { file } = await progress.step("Save what is there", (detail) =>
        writeSnapshot(
          { paths, database, bin, detail, signal },
          { kind: KIND, skipUnreadable: true, ...(workspace === undefined ? {} : { workspace }) },
        ),
      );
      removeOlder(paths, new RegExp(`^${KIND}$`), file);
      await progress.step("Make an empty database", () =>
        withServer(database, async (server) => {
          await createStagingDatabase(server, FRESH);
          const fresh = openDatabase({ ...database, database: FRESH, maxConnections: 1 });
          try {
            await migrate(fresh.pool);
          } finally {
            await fresh.close();
          }
          await dropDatabase(server, REPLACED);
          signal?.throwIfAborted();
          await swapDatabases(server, { staged: FRESH, live: database.database, replaced: REPLACED });
          await dropDatabase(server, REPLACED);
        }),
      );
      return file;
    }),
  );
}
