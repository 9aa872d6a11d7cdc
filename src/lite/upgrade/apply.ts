import { formatBytes } from "../../kit/bytes.ts";
import type { Logger } from "../../kit/service.ts";
import { UserError } from "../../kit/user-error.ts";
import { openDatabase, type DatabaseConfig } from "../../store/database.ts";
import { migrate, MigrationError } from "../../store/migrate.ts";
import { loadMigrations, type Migration } from "../../store/migrations.ts";
import { schemaStatus } from "../../store/schema-status.ts";
import type { LeoflowPaths } from "../paths.ts";
import type { Progress } from "../progress.ts";
import { checkRoom, formatEstimate, preflight, type Preflight } from "./preflight.ts";
import { previousRelease } from "./previous-release.ts";

export interface UpgradeOptions {
  paths: LeoflowPaths;
  database: DatabaseConfig;
  /** Where pg_dump is. */
  bin: string;
  logger: Logger;
  progress: Progress;
  signal?: AbortSignal | undefined;
  /** False only where a user has said so. */
  snapshot?: boolean;
  migrations?: Migration[];
  /** The schema was read, and this build may work on it. Nothing has been written yet. */
  onReadable?: () => void;
  /** Asked when all is known and nothing done; throwing calls it off. */
  onPreflight?: (found: Preflight) => Promise<void> | void;
}

export interface SchemaUpgrade {
  from: number;
  to: number;
  applied: number[];
  /** Path of the snapshot, where one was made. */
  snapshot: string | undefined;
}

/**
 * Brings a database to this build's schema: looks first, makes a snapshot, then migrates. Killed anywhere on the way, the next
 * call begins again. A current schema costs one statement.
 */
export async function upgradeSchema(options: UpgradeOptions): Promise<SchemaUpgrade> {
  const { paths, database, bin, logger, progress, signal } = options;
  const migrations = options.migrations ?? loadMigrations();
  const connection = openDatabase({ ...database, maxConnections: 1 });
  try {
    const status = await schemaStatus(connection.pool, migrations);
    options.onReadable?.();
    const { current: from, newest: to, pending } = status;
    const isFresh = from === 0;
    if (pending.length === 0) return { from, to, applied: [], snapshot: undefined };
    let snapshot: string | undefined;
    if (!isFresh) {
      const found = await preflight(connection.pool, status, { paths, snapshot: options.snapshot ?? true });
      checkRoom(found, paths.home);
      await options.onPreflight?.(found);
      progress.note(`The database goes from schema ${from} to ${to}: ${describe(found)}`);
      if (found.snapshot) {
        const { makeSnapshot } = await import("./snapshot.ts");
        const made = await progress.step("Make a snapshot first", (detail) =>
          makeSnapshot({ paths, database, bin, from, detail, signal }),
        );
        snapshot = made.file;
        progress.note(`Snapshot: ${snapshot} (${formatBytes(made.bytes)})`);
      }
    }
    try {
      const applied = await migrate(connection.pool, {
        migrations,
        ...(signal ? { signal } : {}),
        onApply: ({ version, name }) => logger.info(`applying migration ${version} (${name})`),
        onWait: () => progress.note("Waiting for another Leoflow that migrates this database"),
        step: (migration, apply) => (isFresh ? apply() : progress.step(titleOf(migration), apply)),
      });
      return { from, to, applied, snapshot };
    } catch (error) {
      throw error instanceof MigrationError ? withWayBack(error, paths, snapshot) : error;
    }
  } finally {
    await connection.close();
  }
}

function titleOf({ version, name }: Migration): string {
  return `Migration ${version} (${name.replaceAll("_", " ")})`;
}

function describe({ pending, seconds, datastoreBytes }: Preflight): string {
  const count = `${pending.length} migration${pending.length === 1 ? "" : "s"}`;
  return `${count}, ${formatEstimate(seconds)} for ${formatBytes(datastoreBytes)} of data`;
}

/** The same error with what can be done now: the old release goes on with a schema that was left as it was. */
function withWayBack(error: MigrationError, paths: LeoflowPaths, snapshot: string | undefined): UserError {
  const { start, install } = previousRelease(paths.program);
  const restore = snapshot ? `\`leoflow lite restore -i ${snapshot} --force\`` : undefined;
  const goBack = start ? `run \`${start}\`, or ${install}` : install;
  const fix = error.intact
    ? `go on with the previous release: ${goBack}${restore ? `; a snapshot from before is ${snapshot} (${restore})` : ""}`
    : `go back to the previous release (${goBack})${restore ? ` and to the snapshot from before: ${restore}` : " and to a backup of yours"}`;
  return new UserError(error.message, { fix, cause: error });
}
