import { hostname, userInfo } from "node:os";
import { UserError } from "../kit/user-error.ts";
import { withDatastore } from "../lite/datastore.ts";
import { audit } from "../store/audit.ts";
import { openDatabase, type Database } from "../store/database.ts";
import { readSchema, schemaError } from "../store/schema-status.ts";
import type { CommandContext } from "./command-context.ts";

export interface StoreNeeds {
  /** Completes "there is nothing to …" where there is no database. */
  what: string;
  /** The schema version that brought the things. */
  since: number;
  /** "users" */
  things: string;
}

/** Works on the home's database, whether Lite runs or not. Nothing is migrated: an older database is a UserError. */
export function withStore<T>(
  context: CommandContext,
  { what, since, things }: StoreNeeds,
  work: (db: Database) => Promise<T>,
): Promise<T> {
  return withDatastore({ ...context, clusterAsItIs: true }, what, async ({ database }) => {
    const connection = openDatabase({ ...database, maxConnections: 1 });
    try {
      const verdict = await readSchema(connection.pool);
      if (verdict.kind !== "readable") throw schemaError(verdict);
      if (verdict.current < since) {
        throw new UserError(`the database is at schema version ${verdict.current}, and ${things} need ${since}`, {
          fix: "start this release once with `leoflow lite`, which brings it up to date",
        });
      }
      return await work(connection.db);
    } finally {
      await connection.close();
    }
  });
}

/** As Airflow's `action_cli` records a command. No password is ever part of one. */
export function recordCommand(db: Database, event: string): Promise<void> {
  return audit(db, {
    event,
    user: userInfo().username,
    extra: { host_name: hostname(), full_command: ["leoflow", ...process.argv.slice(2)] },
  });
}
