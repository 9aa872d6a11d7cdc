import type pg from "pg";
import { UserError } from "../kit/user-error.ts";
import { loadMigrations, type Migration } from "./migrations.ts";
import { schemaStatus, type SchemaStatus } from "./schema-status.ts";
import { splitStatements } from "./sql-statements.ts";

export { newerSchemaMessage, schemaStatus, type SchemaStatus } from "./schema-status.ts";

/** The advisory lock of whoever migrates. */
export const MIGRATION_LOCK = 0x1e0f10;
/** How long a migration waits for a table that another program holds. Nothing else of ours is connected then. */
const LOCK_TIMEOUT = "60s";
const LOCK_NOT_AVAILABLE = "55P03";

export interface MigrateOptions {
  migrations?: Migration[];
  onApply?: (migration: Migration) => void;
  /** Around each migration; tells a person what is done. */
  step?: (migration: Migration, apply: () => Promise<void>) => Promise<void>;
  /** Another Leoflow migrates this database: its end is waited for. */
  onWait?: () => void;
  signal?: AbortSignal;
}

/** A migration that failed, and what the database is at now. */
export class MigrationError extends UserError {
  readonly migration: Migration;
  /** The schema version that holds. */
  readonly at: number;
  /** Nothing at all was changed. */
  readonly intact: boolean;

  constructor(migration: Migration, facts: { at: number; intact: boolean; dirty: boolean }, cause: unknown) {
    const { at, intact, dirty } = facts;
    const state = dirty
      ? `it ran without a transaction, so the schema is marked dirty at version ${migration.version}`
      : intact
        ? `nothing was changed, the database is still at schema version ${at}`
        : `the migrations before it are done, the database is at schema version ${at}`;
    super(`migration ${migration.version} (${migration.name}) failed: ${reasonOf(cause)}; ${state}`, { cause });
    this.name = "MigrationError";
    this.migration = migration;
    this.at = at;
    this.intact = intact;
  }
}

function reasonOf(cause: unknown): string {
  const { message, detail, code } = cause as { message: string; detail?: string; code?: string };
  const held = code === LOCK_NOT_AVAILABLE ? " (another program that is connected to this database holds a table)" : "";
  return `${message}${detail ? ` (${detail})` : ""}${held}`;
}

/** Whether it asks to run outside of a transaction: its first line is `-- no transaction`. */
export function runsWithoutTransaction(migration: Migration): boolean {
  return /^--\s*no transaction\s*(\n|$)/.test(migration.sql);
}

/**
 * Applies what is missing. All pending migrations are one transaction, so a failing one leaves the schema as it was; only one
 * that is marked `-- no transaction` stands alone between two, and is dirty while it runs. Two that migrate at once wait for
 * each other on an advisory lock. Returns the versions applied.
 */
export async function migrate(pool: pg.Pool, options: MigrateOptions = {}): Promise<number[]> {
  const known = options.migrations ?? loadMigrations();
  const client = await pool.connect();
  let broken = true;
  try {
    const applied = await whileConnected(client, options.signal, async () => {
      if ((await schemaStatus(client, known)).pending.length === 0) return [];
      await liftTimeouts(client);
      await lock(client, options.onWait);
      return applyPending(client, known, options);
    });
    broken = applied.length > 0;
    return applied;
  } finally {
    // Closed after work: the lock, the lifted time-outs and a transaction that was cut short go with the connection.
    client.release(broken);
  }
}

/** Calls `work` off by leaving it behind: the server ends what it does when the connection is closed. */
async function whileConnected<T>(
  client: pg.PoolClient,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  // A connection that is lost is told by its statement, with the migration's name.
  client.on("error", () => undefined);
  let onAbort = (): void => undefined;
  const calledOff = new Promise<never>((_done, fail) => {
    onAbort = () => fail(signal?.reason as Error);
    signal?.addEventListener("abort", onAbort);
  });
  const working = work();
  working.catch(() => undefined);
  try {
    return await Promise.race([working, calledOff]);
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

/** A user's own time-outs are meant for questions; a migration takes the time it takes. Names differ between servers. */
async function liftTimeouts(client: pg.ClientBase): Promise<void> {
  await client.query(
    `select set_config(name, '0', false) from pg_settings
     where name in ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')`,
  );
}

async function lock(client: pg.ClientBase, onWait?: () => void): Promise<void> {
  const got = await client.query<{ locked: boolean }>("select pg_try_advisory_lock($1) as locked", [MIGRATION_LOCK]);
  if (!got.rows[0]?.locked) {
    onWait?.();
    await client.query("select pg_advisory_lock($1)", [MIGRATION_LOCK]);
  }
  await client.query("select set_config('lock_timeout', $1, false)", [LOCK_TIMEOUT]);
}

async function applyPending(client: pg.ClientBase, known: Migration[], options: MigrateOptions): Promise<number[]> {
  const before: SchemaStatus = await schemaStatus(client, known);
  const applied: number[] = [];
  for (const group of transactionsOf(before.pending)) {
    const at = applied.at(-1) ?? before.current;
    const facts = { at, intact: applied.length === 0, dirty: false };
    const [first] = group;
    if (first && runsWithoutTransaction(first)) await applyAlone(client, first, facts, options);
    else await applyTogether(client, group, facts, options);
    applied.push(...group.map(({ version }) => version));
  }
  return applied;
}

function transactionsOf(pending: Migration[]): Migration[][] {
  const groups: Migration[][] = [];
  let alone = true;
  for (const migration of pending) {
    const standsAlone = runsWithoutTransaction(migration);
    if (alone || standsAlone) groups.push([]);
    groups.at(-1)?.push(migration);
    alone = standsAlone;
  }
  return groups;
}

type Facts = { at: number; intact: boolean; dirty: boolean };

async function applyTogether(
  client: pg.ClientBase,
  group: Migration[],
  facts: Facts,
  options: MigrateOptions,
): Promise<void> {
  let last = group[0] as Migration;
  try {
    await client.query("begin");
    await makeTable(client);
    for (const migration of group) {
      last = migration;
      await announced(migration, options, async () => {
        await client.query("insert into schema_migrations (version, name) values ($1, $2)", [
          migration.version,
          migration.name,
        ]);
        await client.query(migration.sql);
      });
    }
    await client.query("commit");
  } catch (error) {
    await client.query("rollback").catch(() => undefined);
    throw new MigrationError(last, facts, error);
  }
}

/** Statement by statement. What is done stays done, so the version is dirty from before the first until after the last. */
async function applyAlone(
  client: pg.ClientBase,
  migration: Migration,
  facts: Facts,
  options: MigrateOptions,
): Promise<void> {
  const { version, name } = migration;
  try {
    await makeTable(client);
    await client.query("insert into schema_migrations (version, name, dirty) values ($1, $2, true)", [version, name]);
  } catch (error) {
    throw new MigrationError(migration, facts, error);
  }
  await announced(migration, options, async () => {
    try {
      for (const statement of splitStatements(migration.sql)) await client.query(statement);
      await client.query("update schema_migrations set dirty = false where version = $1", [version]);
    } catch (error) {
      throw new MigrationError(migration, { ...facts, intact: false, dirty: true }, error);
    }
  });
}

async function announced(migration: Migration, options: MigrateOptions, apply: () => Promise<void>): Promise<void> {
  options.signal?.throwIfAborted();
  options.onApply?.(migration);
  await (options.step ? options.step(migration, apply) : apply());
}

/** `dirty` came later; a release that does not know it goes on working, its rows are clean. */
async function makeTable(client: pg.ClientBase): Promise<void> {
  await client.query(
    `create table if not exists schema_migrations (
       version integer primary key,
       name text not null,
       applied_at timestamptz not null default now()
     );
     alter table schema_migrations add column if not exists dirty boolean not null default false`,
  );
}

/**
 * Says at which version a schema is that someone has repaired by hand: what golang-migrate calls `migrate force`. Nothing of
 * the schema itself is touched. `version` must be one that this build knows.
 */
export async function forceSchemaVersion(
  client: pg.ClientBase | pg.Pool,
  version: number,
  known = loadMigrations(),
): Promise<void> {
  if (!known.some((migration) => migration.version === version)) {
    throw new UserError(`this release has no schema version ${version}`, {
      fix: `use one of ${known.map((migration) => migration.version).join(", ")}`,
    });
  }
  const applied = known.filter((migration) => migration.version <= version);
  await client.query(
    `with beyond as (delete from schema_migrations where version > $1)
     insert into schema_migrations (version, name, dirty)
     select * from unnest($2::integer[], $3::text[], array_fill(false, array[cardinality($2::integer[])]))
     on conflict (version) do update set dirty = false`,
    [version, applied.map((each) => each.version), applied.map((each) => each.name)],
  );
}
