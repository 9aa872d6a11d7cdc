import pg from "pg";
import { ensureDatabaseExists } from "./create-database.ts";
import { openDatabase, type DatabaseConfig } from "./database.ts";
import { migrate } from "./migrate.ts";
import { readSchema } from "./schema-status.ts";

const PREFIX = "leoflow_trial_";
/** What the user keeps for all DAGs, in the order the rows need each other. */
const KEPT = ["team", "pool", "variable", "connection"];

/** Whether the home's own settings could be taken along, and why not. */
export type Taken = "taken" | "none" | "other-schema";

/**
 * Makes an empty database beside the home's, with its pools, variables and connections: what a DAG is tried on. Those that a
 * trial left which was killed are dropped; the caller holds the home's lock.
 */
export async function makeTrialDatabase(home: DatabaseConfig): Promise<{ trial: DatabaseConfig; taken: Taken }> {
  const trial = { ...home, database: `${PREFIX}${process.pid}` };
  await dropTrialDatabases(home);
  await ensureDatabaseExists(trial);
  const own = openDatabase({ ...trial, maxConnections: 1 });
  try {
    await migrate(own.pool);
    return { trial, taken: await takeKept(home, own.pool) };
  } finally {
    await own.close();
  }
}

export async function dropTrialDatabases(home: DatabaseConfig): Promise<void> {
  const admin = new pg.Client({ ...home, database: "postgres" });
  await admin.connect();
  try {
    const { rows } = await admin.query<{ datname: string }>(
      "select datname from pg_database where starts_with(datname, $1)",
      [PREFIX],
    );
    for (const { datname } of rows) {
      await admin.query(`drop database if exists ${pg.escapeIdentifier(datname)} with (force)`);
    }
  } finally {
    await admin.end();
  }
}

async function takeKept(home: DatabaseConfig, to: pg.Pool): Promise<Taken> {
  const from = openDatabase({ ...home, maxConnections: 1 });
  try {
    const schema = await readSchema(from.pool);
    if (schema.kind === "readable" && schema.current === 0) return "none";
    if (schema.kind !== "readable" || schema.pending.length > 0) return "other-schema";
    await to.query("delete from pool");
    for (const table of KEPT) {
      const { rows } = await from.pool.query<{ all: string }>(
        `select coalesce(json_agg(t), '[]')::text as all from ${table} as t`,
      );
      await to.query(
        `insert into ${table} overriding system value select * from json_populate_recordset(null::${table}, $1::json)`,
        [rows[0]?.all],
      );
    }
    return "taken";
  } finally {
    await from.close();
  }
}
