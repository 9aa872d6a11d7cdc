import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import { parseInstant, type Instant } from "../kit/instant.ts";
import type { Schema } from "./schema.ts";

export type Database = Kysely<Schema>;

export interface DatabaseConfig {
  /** Directory of the UNIX socket, or a host name. */
  host: string;
  port: number;
  user: string;
  password: string;
  database: string;
  /** Connections at most; default 10. */
  maxConnections?: number;
}

const INT8 = 20;
const JSON_TEXT = 114;
const TIMESTAMPTZ = 1184;

// bigint: our ids stay below 2^53. json: kept as text, see kit/json-text.ts. timestamptz: microseconds, see kit/instant.ts.
const parsers: Record<number, (text: string) => unknown> = {
  [INT8]: Number,
  [JSON_TEXT]: (text) => text,
  [TIMESTAMPTZ]: readMoment,
};

/** Answers hold thousands: what PostgreSQL writes while its zone is UTC needs no more than other punctuation. */
function readMoment(text: string): Instant {
  if (text[10] !== " " || !text.endsWith("+00")) return parseInstant(text);
  const fraction = text.slice(20, -3).padEnd(6, "0");
  return `${text.slice(0, 10)}T${text.slice(11, 19)}.${fraction}Z` as Instant;
}

const types = {
  getTypeParser: ((oid: number, format?: "text" | "binary") =>
    parsers[oid] ?? (pg.types.getTypeParser(oid, format) as unknown)) as typeof pg.types.getTypeParser,
};

export interface OpenDatabase {
  db: Database;
  pool: pg.Pool;
  close(): Promise<void>;
}

export function openDatabase(config: DatabaseConfig): OpenDatabase {
  const pool = new pg.Pool({
    host: config.host,
    port: config.port,
    user: config.user,
    password: config.password,
    database: config.database,
    max: config.maxConnections ?? 10,
    options: "-c TimeZone=UTC",
    types,
  });
  // A connection that breaks fails its query, and the pool replaces it; an error event that nobody hears ends the process.
  pool.on("error", () => undefined);
  pool.on("connect", (client) => client.on("error", () => undefined));
  const db = new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) });
  const close = async (): Promise<void> => {
    await db.destroy();
    // Kysely ends a pool that it has used; one that was used without it would hold the process until its connections idle out.
    if (!pool.ending) await pool.end();
  };
  return { db, pool, close };
}
