import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { createTestApi, type TestApi } from "../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { ManagedPostgres } from "../lite/postgres/managed-postgres.ts";
import { readPostmasterFile } from "../lite/postgres/stale-server.ts";
import { openDatabase, type OpenDatabase } from "../store/database.ts";
import { loadMigrations } from "../store/migrations.ts";
import { readinessRoutes } from "./readyz.ts";

const newest = loadMigrations().at(-1)?.version ?? 0;
const later = { version: newest + 1, name: "later", sql: "" };

describe("/readyz", () => {
  let database: TestDatabase;
  let api: TestApi;
  beforeEach(async () => {
    database = await createTestDatabase();
    api = await createTestApi(database.db, [readinessRoutes], { prefix: "" });
  });
  afterEach(async () => {
    await api.close();
    await database.close();
  });

  async function readiness(change?: string) {
    if (change) await database.pool.query(change);
    const response = await api.get("/readyz");
    return { code: response.statusCode, ...response.json<Record<string, unknown>>() };
  }

  it("says ready without a login", async () => {
    expect(await readiness()).toEqual({
      code: 200,
      status: "ready",
      database: "ok",
      schema_version: newest,
      newest_schema_version: newest,
    });
    const response = await api.get("/healthz");
    expect([response.statusCode, response.json()]).toEqual([200, { status: "ok" }]);
  });

  it("D7: passes a schema that is ahead, and one that is dirty above its own version", async () => {
    const insert = "insert into schema_migrations (version, name, dirty) values";
    expect(await readiness(`${insert} (${newest + 1}, 'later', false)`)).toMatchObject({
      code: 200,
      schema_version: newest + 1,
    });
    expect(await readiness(`${insert} (${newest + 2}, 'still later', true)`)).toMatchObject({ code: 200 });
  });

  it("D7: names a dirty schema", async () => {
    expect(await readiness(`update schema_migrations set dirty = true where version = ${newest}`)).toMatchObject({
      code: 503,
      status: "not ready",
      database: "schema dirty",
      reason: expect.stringContaining(`database schema is marked dirty at version ${newest}`) as string,
    });
  });

  it("D7: names a missing and an unreadable one", async () => {
    expect(await readiness("drop table schema_migrations")).toMatchObject({ code: 503, database: "schema missing" });
    expect(await readiness("drop schema public cascade; create schema public")).toMatchObject({
      code: 503,
      database: "schema missing",
    });
    expect(
      await readiness("create table schema_migrations as select 15::bigint as version, false as dirty"),
    ).toMatchObject({ code: 503, database: "schema unreadable" });
  });

  it("D7: names one that is behind", async () => {
    const newer = await createTestApi(
      database.db,
      [(app, context) => readinessRoutes(app, context, [...loadMigrations(), later])],
      { prefix: "" },
    );
    const response = await newer.get("/readyz");
    expect(response.statusCode).toBe(503);
    expect(response.json()).toMatchObject({
      database: "schema behind",
      reason: `the database is at schema version ${newest}, this build needs ${newest + 1}: it was not migrated, or an older backup was restored`,
    });
    await newer.close();
  });
});

describe("/readyz over a database that went away", () => {
  const folder = mkdtempSync(join(tmpdir(), "leoflow-test-"));
  const server = new ManagedPostgres({
    logger: pino({ level: "silent" }),
    bin: inject("postgresBin"),
    folder,
    settings: { fsync: "off" },
  });
  let open: OpenDatabase;
  let api: TestApi;
  beforeAll(async () => {
    open = openDatabase({ ...(await server.start()), maxConnections: 2 });
    api = await createTestApi(open.db, [readinessRoutes], { prefix: "" });
  });
  afterAll(async () => {
    await api.close();
    await open.close();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it("answers within two seconds, however often it is asked, and is ready again when the database is", async () => {
    expect((await api.get("/readyz")).json()).toMatchObject({ database: "schema missing" });
    const postmaster = readPostmasterFile(join(folder, "data"))?.pid as number;
    process.kill(postmaster, "SIGSTOP");
    // The backend that serves our connection hangs as well.
    const { rows } = await open.pool.query<{ pid: number }>("select pg_backend_pid() as pid");
    for (const { pid } of rows) process.kill(pid, "SIGSTOP");
    try {
      const began = performance.now();
      const answers = await Promise.all([1, 2, 3, 4].map(() => api.get("/readyz")));
      expect(performance.now() - began).toBeLessThan(3_000);
      for (const answer of answers) {
        expect(answer.statusCode).toBe(503);
        expect(answer.json()).toMatchObject({
          database: "unreachable",
          reason: "the database cannot be reached: it does not answer within 2 s",
        });
      }
    } finally {
      for (const { pid } of rows) process.kill(pid, "SIGCONT");
      process.kill(postmaster, "SIGCONT");
    }
    await expect
      .poll(async () => (await api.get("/readyz")).json<object>())
      .toMatchObject({ database: "schema missing" });
    await server.stop();
    expect((await api.get("/readyz")).json()).toMatchObject({ database: "unreachable" });
  });
});
