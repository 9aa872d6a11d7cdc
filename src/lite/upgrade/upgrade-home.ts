import { openDatabase } from "../../store/database.ts";
import { forceSchemaVersion } from "../../store/migrate.ts";
import type { Migration } from "../../store/migrations.ts";
import { hasDatastore, startingPostgres, withHomeToItself, type DatastoreOptions } from "../datastore.ts";
import { upgradeSchema, type SchemaUpgrade, type UpgradeOptions } from "./apply.ts";

export interface UpgradeHomeOptions {
  snapshot: boolean;
  onPreflight?: UpgradeOptions["onPreflight"];
  migrations?: Migration[];
}

/** What `leoflow lite` does to the database when it starts, without starting the rest. Undefined where there is no database. */
export async function upgradeHome(
  options: DatastoreOptions,
  { snapshot, onPreflight, migrations }: UpgradeHomeOptions,
): Promise<SchemaUpgrade | undefined> {
  if (!hasDatastore(options.paths)) return undefined;
  const { paths, logger, progress, signal } = options;
  return withHomeToItself(paths, () =>
    startingPostgres(options, ({ database, bin }) =>
      upgradeSchema({
        ...{ paths, database, bin, logger, progress, signal, snapshot },
        ...(migrations ? { migrations } : {}),
        ...(onPreflight ? { onPreflight } : {}),
      }),
    ),
  );
}

/** See forceSchemaVersion. */
export async function forceHomeVersion(options: DatastoreOptions, version: number): Promise<void> {
  await withHomeToItself(options.paths, () =>
    startingPostgres(options, async ({ database }) => {
      const connection = openDatabase({ ...database, maxConnections: 1 });
      try {
        await forceSchemaVersion(connection.pool, version);
      } finally {
        await connection.close();
      }
    }),
  );
}
