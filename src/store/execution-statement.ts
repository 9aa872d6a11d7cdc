import type { OpenDatabase } from "./database.ts";

/** What prepared statements run on; `OpenDatabase` has one. */
export type Pool = OpenDatabase["pool"];

// Statements guard a row by id and state. The state is compared in a form no index can serve (`is not distinct from`,
// `coalesce`): the planner may else take the small index of live rows over the primary key and read all that is running.

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
