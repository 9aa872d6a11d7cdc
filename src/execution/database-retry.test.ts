import { afterAll, beforeAll, expect, it } from "vitest";
import pg from "pg";
import { makeRunningTask, NOON } from "../../test/support/factories.ts";
import { createTestExecution, WORKER, type TestExecution } from "../../test/support/execution.ts";
import { isTransient, withDatabase } from "./database-retry.ts";

let t: TestExecution;
beforeAll(async () => {
  t = await createTestExecution({ reconnectDelaysMs: [1, 5, 25, 125, 625] });
});
afterAll(() => t.database.close());

/** Ends all connections of the service's database, as a restart of PostgreSQL does. */
async function breakConnections(): Promise<void> {
  const admin = new pg.Client({ ...t.database.config, database: "postgres" });
  await admin.connect();
  await admin.query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", [t.database.name]);
  await admin.end();
}

it("a report survives a database that goes away", async () => {
  const { ti } = await makeRunningTask(t.database.db);
  const [started] = await Promise.all([t.execution.start(ti.id, WORKER), breakConnections()]);
  expect(started.kind).toBe("started");
  const report = { type: "SucceedTask", end_date: NOON };
  const [reply] = await Promise.all([t.execution.handle(ti.id, report), breakConnections()]);
  expect(reply).toEqual({ body: null });
  const row = await withDatabase(t.x, () =>
    t.database.db.selectFrom("task_instance").select("state").where("id", "=", ti.id).executeTakeFirst(),
  );
  expect(row?.state).toBe("success");
});

it("gives up after its last wait, and at once on what waiting does not mend", async () => {
  let calls = 0;
  const failing = (error: Error) => () => {
    calls++;
    return Promise.reject(error);
  };
  const refused = Object.assign(new Error("connect"), { code: "ECONNREFUSED" });
  await expect(
    withDatabase({ ...t.x, config: { ...t.x.config, reconnectDelaysMs: [1, 1] } }, failing(refused)),
  ).rejects.toBe(refused);
  expect(calls).toBe(3);
  calls = 0;
  const broken = Object.assign(new Error("syntax"), { code: "42601" });
  await expect(withDatabase(t.x, failing(broken))).rejects.toBe(broken);
  expect(calls).toBe(1);
  expect(isTransient("no error")).toBe(false);
});
