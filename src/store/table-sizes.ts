import type pg from "pg";

export interface TableSize {
  name: string;
  /** As PostgreSQL last counted them: near enough for an estimate, and without reading the table. */
  rows: number;
  /** The table itself with its long values, without indexes. */
  bytes: number;
  /** With its indexes. */
  totalBytes: number;
}

/** Where a table was never counted (just loaded, or statistics lost in a crash). */
const BYTES_PER_UNCOUNTED_ROW = 250;

/** This schema's tables, largest first. */
export async function tableSizes(client: pg.ClientBase | pg.Pool): Promise<TableSize[]> {
  const { rows } = await client.query<{ name: string; rows: string; bytes: string; total_bytes: string }>(
    `select c.relname as name, greatest(c.reltuples, s.n_live_tup, 0)::bigint::text as rows,
            pg_table_size(c.oid)::text as bytes, pg_total_relation_size(c.oid)::text as total_bytes
     from pg_class as c left join pg_stat_user_tables as s on s.relid = c.oid
     where c.relkind in ('r', 'p') and c.relnamespace = current_schema()::regnamespace
     order by pg_total_relation_size(c.oid) desc, c.relname`,
  );
  return rows.map((row) => ({
    name: row.name,
    rows: Number(row.rows) || Math.floor(Math.max(0, Number(row.bytes) - 8192) / BYTES_PER_UNCOUNTED_ROW),
    bytes: Number(row.bytes),
    totalBytes: Number(row.total_bytes),
  }));
}

/** The whole database with all it holds, in bytes. */
export async function databaseBytes(client: pg.ClientBase | pg.Pool): Promise<number> {
  const { rows } = await client.query<{ bytes: string }>("select pg_database_size(current_database())::text as bytes");
  return Number(rows[0]?.bytes ?? 0);
}

/** Milliseconds that a fixed piece of work takes this server now: reading no table, a few dozen where nothing else runs. */
export async function speedProbeMs(client: pg.ClientBase | pg.Pool): Promise<number> {
  const began = performance.now();
  await client.query(
    "select count(*) from (select md5(i::text) from generate_series(1, 60000) as i order by 1) as sorted",
  );
  return performance.now() - began;
}
