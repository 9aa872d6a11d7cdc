import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

const read = async (text: string): Promise<unknown> => {
  const { rows } = await sql<{ at: unknown }>`select ${text}::timestamptz as at`.execute(database.db);
  return rows[0]?.at;
};

it.each([
  ["2026-02-11 11:00:37.123456+00", "2026-02-11T11:00:37.123456Z"],
  ["2026-02-11 11:00:37.5+02", "2026-02-11T09:00:37.500000Z"],
  ["2026-02-11T11:00:37Z", "2026-02-11T11:00:37.000000Z"],
  ["0001-01-01 00:00:00+00", "0001-01-01T00:00:00.000000Z"],
  ["9999-12-31 23:59:59.999999+00", "9999-12-31T23:59:59.999999Z"],
])("reads %s as an Instant", async (text, instant) => expect(await read(text)).toBe(instant));

it("reads no moment that an Instant cannot hold", async () => {
  await expect(read("infinity")).rejects.toThrow("not a date and time");
  await expect(read("12026-01-01 00:00:00+00")).rejects.toThrow("not a date and time");
});
