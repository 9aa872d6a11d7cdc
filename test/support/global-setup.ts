import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { pino } from "pino";
import type { TestProject } from "vitest/node";
import { ManagedPostgres } from "../../src/lite/postgres/managed-postgres.ts";
import type { DatabaseConfig } from "../../src/store/database.ts";
import { migrate } from "../../src/store/migrate.ts";
import { prepareSharedHome } from "./home.ts";

declare module "vitest" {
  export interface ProvidedContext {
    postgres: DatabaseConfig;
    /** Folder of `postgres` and `initdb`, for tests that start their own. */
    postgresBin: string;
  }
}

/** One PostgreSQL for the whole test run, with a migrated database `template_leoflow` that each test file clones. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { postgresBin } = await prepareSharedHome({
    step: async (title, work) => {
      console.log(`${title} ...`);
      return work(() => undefined);
    },
    note: (text) => console.log(text),
  });
  const folder = mkdtempSync(join(tmpdir(), "leoflow-pg-"));
  const server = new ManagedPostgres({
    logger: pino({ level: "error" }),
    bin: postgresBin,
    folder,
    database: "template_leoflow",
    settings: { fsync: "off", max_connections: "200", shared_buffers: "64MB" },
  });
  const postgres = await server.start();
  const pool = new pg.Pool(postgres);
  await migrate(pool);
  await pool.end();
  project.provide("postgres", postgres);
  project.provide("postgresBin", postgresBin);
  return async () => {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  };
}
