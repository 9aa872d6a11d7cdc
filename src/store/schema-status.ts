import { CompiledQuery } from "kysely";
import type pg from "pg";
import { UserError } from "../kit/user-error.ts";
import type { Database } from "./database.ts";
import { loadMigrations, type Migration } from "./migrations.ts";

export interface SchemaStatus {
  /** 0 for a fresh database. */
  current: number;
  newest: number;
  pending: Migration[];
}

/** What a database is, seen from this build. */
export type SchemaVerdict =
  | ({ kind: "readable" } & SchemaStatus)
  /** A newer release has migrated it. */
  | { kind: "newer"; current: number; newest: number }
  /** A migration without a transaction was cut short. */
  | { kind: "dirty"; version: number; newest: number }
  /** Not ours, or not as we leave it; `problem` and `fix` are for the user. */
  | { kind: "unreadable"; problem: string; fix: string };

/** Sends one statement. A missing table and refused rights are its errors. */
export type Ask = (statement: string) => Promise<unknown[]>;

const UNDEFINED_TABLE = "42P01";
const INSUFFICIENT_PRIVILEGE = "42501";

/**
 * Reads what the database is at; writes nothing. Throws UserError when this build must not work on it. One statement, unless
 * the database is fresh.
 */
export async function schemaStatus(client: pg.ClientBase | pg.Pool, known = loadMigrations()): Promise<SchemaStatus> {
  const verdict = await readSchema(client, known);
  if (verdict.kind !== "readable") throw schemaError(verdict);
  const { current, newest, pending } = verdict;
  return { current, newest, pending };
}

/** The same without throwing for what it finds. */
export function readSchema(client: pg.ClientBase | pg.Pool, known = loadMigrations()): Promise<SchemaVerdict> {
  return readSchemaThrough(async (statement) => (await client.query<object>(statement)).rows, known);
}

/** The same through Kysely. */
export function readSchemaOf(db: Database, known = loadMigrations()): Promise<SchemaVerdict> {
  return readSchemaThrough(async (statement) => (await db.executeQuery(CompiledQuery.raw(statement))).rows, known);
}

/** The same through whatever can send a statement. Its errors have PostgreSQL's code in `code`. */
export async function readSchemaThrough(ask: Ask, known = loadMigrations()): Promise<SchemaVerdict> {
  const newest = known.at(-1)?.version ?? 0;
  let rows: unknown[];
  try {
    // As JSON, because the columns are what is asked for too: other programs keep a table of this name.
    rows = await ask("select to_jsonb(m) as found from schema_migrations as m");
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code === INSUFFICIENT_PRIVILEGE) return deniedVerdict(message);
    if (code !== UNDEFINED_TABLE) throw error;
    rows = [];
  }
  if (rows.length === 0) return (await hasOurTables(ask)) ? lostVerdict : readable(0, newest, known);
  const found = rows.map((row) => (row as { found: Record<string, unknown> }).found);
  if (!found.every(isOurs)) return foreignVerdict(Object.keys(found[0] ?? {}));
  const dirty = found.find((row) => row.dirty === true);
  if (dirty) return { kind: "dirty", version: dirty.version, newest };
  const current = Math.max(...found.map((row) => row.version));
  if (current > newest) return { kind: "newer", current, newest };
  return historyProblem(found, known, current) ?? readable(current, newest, known);
}

function readable(current: number, newest: number, known: Migration[]): SchemaVerdict {
  return { kind: "readable", current, newest, pending: known.filter((migration) => migration.version > current) };
}

interface MigrationRow {
  version: number;
  name: string;
  dirty?: boolean;
}

function isOurs(row: Record<string, unknown>): row is Record<string, unknown> & MigrationRow {
  return Number.isInteger(row["version"]) && typeof row["name"] === "string";
}

async function hasOurTables(ask: Ask): Promise<boolean> {
  const rows = await ask("select 1 where coalesce(to_regclass('dag'), to_regclass('task_instance')) is not null");
  return rows.length > 0;
}

const BACKUP_FIX = "restore a backup with `leoflow lite restore -i FILE --force`";

/** Our tables without their version. */
export const lostVerdict: SchemaVerdict = {
  kind: "unreadable",
  problem: "the database has Leoflow's tables, but its schema_migrations does not say at which version they are",
  fix: `${BACKUP_FIX}; or, if the tables are another program's, give Leoflow a database of its own`,
};

function deniedVerdict(message: string): SchemaVerdict {
  return {
    kind: "unreadable",
    problem: `the database does not let Leoflow read its schema version: ${message}`,
    fix: "give the table to the user that Leoflow connects as: `alter table schema_migrations owner to leoflow`",
  };
}

function foreignVerdict(columns: string[]): SchemaVerdict {
  const isGolangMigrate = columns.includes("version") && columns.includes("dirty") && !columns.includes("name");
  return {
    kind: "unreadable",
    problem:
      `the database belongs to another program: its schema_migrations has the columns ${columns.toSorted().join(", ")}` +
      (isGolangMigrate ? ", as golang-migrate and the earlier Leoflow written in Go make it" : ""),
    fix: "leave it as it is and give Leoflow a database of its own: another LEOFLOW_HOME, or another database name",
  };
}

/** Every migration up to the newest applied one must be there under its own name: versions count up without holes. */
function historyProblem(found: MigrationRow[], known: Migration[], current: number): SchemaVerdict | undefined {
  const names = new Map(found.map(({ version, name }) => [version, name]));
  const fix = `${BACKUP_FIX}, or install the release that made this database`;
  for (const { version, name } of known) {
    if (version > current) break;
    const there = names.get(version);
    if (there === undefined) {
      const problem = `the database is at schema version ${current}, but migration ${version} (${name}) was never applied to it`;
      return { kind: "unreadable", problem, fix };
    }
    if (there !== name) {
      const problem = `migration ${version} of this database is "${there}", but in this release it is "${name}"`;
      return { kind: "unreadable", problem: `${problem}: another build has migrated it`, fix };
    }
    names.delete(version);
  }
  const [unknown] = names;
  if (!unknown) return undefined;
  const problem = `the database has had migration ${unknown[0]} ("${unknown[1]}"), which this release does not have`;
  return { kind: "unreadable", problem: `${problem}: another build has migrated it`, fix };
}

/** Why this build must not work on the database, in the words of the upgrade contract, with a way out. */
export function schemaError(verdict: Exclude<SchemaVerdict, { kind: "readable" }>): UserError {
  switch (verdict.kind) {
    case "newer":
      return new UserError(newerSchemaMessage(verdict.current, verdict.newest));
    case "dirty":
      return new UserError(dirtySchemaMessage(verdict.version), { fix: DIRTY_FIX });
    case "unreadable":
      return new UserError(verdict.problem, { fix: verdict.fix });
  }
}

/** The words are a promise of the upgrade contract: scripts and people look for them. */
export function newerSchemaMessage(current: number, newest: number): string {
  return (
    `database is at schema version ${current} but this binary only knows up to ${newest}; an older \`leoflow\` is being run ` +
    "against a newer database. Upgrade the binary, or run `leoflow uninstall --purge` to start over (this WIPES your data)"
  );
}

/** Its words are promised too. */
export function dirtySchemaMessage(version: number): string {
  return (
    `database schema is marked dirty at version ${version} (a prior migration was interrupted); run \`leoflow uninstall --purge\` ` +
    "to reset, or fix manually with `migrate force` if you know what you are doing"
  );
}

const DIRTY_FIX =
  "go back to the snapshot made before that migration, in ~/.leoflow/snapshots: `leoflow lite restore -i FILE --force`; " +
  "or bring the schema to a whole version by hand and say so with `leoflow upgrade --force-version VERSION`";
