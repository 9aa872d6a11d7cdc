import type { OpenDatabase } from "./database.ts";

/** What prepared statements run on; `OpenDatabase` has one. */
export type Pool = OpenDatabase["pool"];

/**
 * A statement that PostgreSQL parses and plans once per connection. What runs several times for each task is written this
 * way; planning it anew would cost more than running it.
 */
export function prepared<Row extends object>(
  name: string,
  text: string,
): (pool: Pool, values: readonly unknown[]) => Promise<Row[]> {
  return async (pool, values) => (await pool.query<Row>({ name, text, values: [...values] })).rows;
}
