import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { pino } from "pino";
import { afterEach, describe, expect, inject, it, vi } from "vitest";
import { until } from "../../../test/support/until.ts";
import type { UserError } from "../../kit/user-error.ts";
import type { DatabaseConfig } from "../../store/database.ts";
import { chooseIdentity } from "./identity.ts";
import { ManagedPostgres, type ManagedPostgresOptions } from "./managed-postgres.ts";
import { isAlive, readPostmasterFile } from "./stale-server.ts";

const isRoot = process.getuid?.() === 0;
// initdb writes a thousand files, which takes seconds on a busy disk.
vi.setConfig({ testTimeout: 90_000 });

const bin = inject("postgresBin");
const cleanUp: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (let step = cleanUp.pop(); step; step = cleanUp.pop()) await step();
});

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "leoflow-test-"));
  cleanUp.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function postgresIn(folder: string, options: Partial<ManagedPostgresOptions> = {}): ManagedPostgres {
  const settings = { fsync: "off" };
  const server = new ManagedPostgres({ logger: pino({ level: "silent" }), bin, folder, settings, ...options });
  cleanUp.push(() => server.stop());
  return server;
}

async function ask(database: DatabaseConfig, query: string): Promise<unknown> {
  const client = new pg.Client(database);
  await client.connect();
  try {
    return Object.values((await client.query<Record<string, unknown>>(query)).rows[0] ?? {})[0];
  } finally {
    await client.end();
  }
}

const pidIn = (folder: string) => readPostmasterFile(join(folder, "data"))?.pid ?? 0;

describe("ManagedPostgres", () => {
  it("makes a cluster that only this user reaches, keeps its data and tolerates a double stop", async () => {
    const folder = temporaryFolder();
    const server = postgresIn(folder);
    expect(server.isNew).toBe(true);
    const database = await server.start();
    expect(await ask(database, "show data_checksums")).toBe("on");
    expect(await ask(database, "show listen_addresses")).toBe("");
    expect(await ask(database, "show synchronous_commit")).toBe("on");
    await expect(ask({ ...database, password: "wrong" }, "select 1")).rejects.toThrow("password authentication failed");
    expect(statSync(join(folder, "password")).mode & 0o777).toBe(0o600);
    expect(statSync(database.host).mode & 0o777).toBe(0o700);
    await ask(database, "create table kept as select 7 as seven");
    await server.stop();
    await server.stop();
    expect(existsSync(join(folder, "data/postmaster.pid"))).toBe(false);

    const again = postgresIn(folder);
    expect(again.isNew).toBe(false);
    expect(await ask(await again.start(), "select seven from kept")).toBe(7);
  });

  it("puts the socket elsewhere where the home's path is too long for one", async () => {
    const folder = join(temporaryFolder(), "a-long-name-".repeat(9));
    const database = await postgresIn(folder).start();
    expect(database.host.startsWith(folder)).toBe(false);
    expect(database.host.length).toBeLessThan(90);
    expect(statSync(database.host).mode & 0o777).toBe(0o700);
    expect(await ask(database, "select 1")).toBe(1);
    cleanUp.push(() => rmSync(database.host, { recursive: true, force: true }));
  });

  it("lets a user's own settings win", async () => {
    const folder = temporaryFolder();
    const server = postgresIn(folder);
    await server.start();
    await server.stop();
    appendFileSync(join(folder, "data/postgresql.conf"), "work_mem = '11MB'\n");
    expect(await ask(await postgresIn(folder).start(), "show work_mem")).toBe("11MB");
  });

  it("shows the last log lines when it cannot start", async () => {
    const folder = temporaryFolder();
    const server = postgresIn(folder);
    await server.start();
    await server.stop();
    appendFileSync(join(folder, "data/postgresql.conf"), "shared_buffers = 'plenty'\n");
    const error = (await server.start().catch((thrown: unknown) => thrown)) as UserError;
    expect(error.message).toContain("PostgreSQL did not start (exit code 1)");
    expect(error.message).toContain('invalid value for parameter "shared_buffers": "plenty"');
    expect(error.fix).toContain("postgresql.conf");
  });

  it("is put up again after a SIGKILL, and given up when it falls too often", async () => {
    const folder = temporaryFolder();
    let given: UserError | undefined;
    const server = postgresIn(folder, { onFailure: (error) => (given = error) });
    const database = await server.start();
    for (let fall = 1; fall <= 3; fall++) {
      const pid = pidIn(folder);
      process.kill(pid, "SIGKILL");
      await until(
        "PostgreSQL is up again",
        async () => pidIn(folder) !== pid && (await ask(database, "select 1").catch(() => 0)) === 1,
      );
    }
    process.kill(pidIn(folder), "SIGKILL");
    await until("it is given up", () => given !== undefined);
    expect(given?.message).toContain("PostgreSQL stopped unexpectedly (ended by SIGKILL)");
  });

  it("starts over a first start that was cut short", async () => {
    const folder = temporaryFolder();
    const broken = join(folder, "data.new");
    writeFileSync(broken, "half of it");
    expect(await ask(await postgresIn(folder).start(), "select 1")).toBe(1);
    expect(existsSync(broken)).toBe(false);
  });

  it("is not stopped by a postmaster.pid whose number went to another program", async () => {
    const folder = temporaryFolder();
    const server = postgresIn(folder);
    await server.start();
    const file = join(folder, "data/postmaster.pid");
    const lines = readFileSync(file, "utf8").split("\n");
    await server.stop();
    writeFileSync(file, [String(process.pid), ...lines.slice(1)].join("\n"), { mode: 0o600 });
    expect(await ask(await postgresIn(folder).start(), "select 1")).toBe(1);
    expect(isAlive(process.pid)).toBe(true);
  });
});

describe.runIf(isRoot)("as root", () => {
  it.each(["namespace", "setpriv"] as const)("runs through %s", async (way) => {
    const folder = temporaryFolder();
    const identity = await chooseIdentity({ folder, dataDir: join(folder, "data"), ways: [way] }).catch(
      () => undefined,
    );
    if (!identity) return; // containers without user namespaces exist, others without SETUID
    const server = postgresIn(folder, { identity });
    const database = await server.start();
    expect(await ask(database, "select current_user")).toBe("leoflow");
    await server.stop();
    // Later starts find out by themselves whose files they are.
    const again = await chooseIdentity({ folder, dataDir: join(folder, "data") });
    expect(again.kind).toBe(way);
    expect(await ask(await postgresIn(folder).start(), "select 1")).toBe(1);
  });

  it("hands a cluster over when namespaces are not allowed any more", async () => {
    const folder = temporaryFolder();
    const dataDir = join(folder, "data");
    const before = await chooseIdentity({ folder, dataDir, ways: ["namespace"] }).catch(() => undefined);
    if (!before) return;
    const server = postgresIn(folder, { identity: before });
    await server.start();
    await server.stop();
    const identity = await chooseIdentity({ folder, dataDir, ways: ["setpriv"] });
    expect(await ask(await postgresIn(folder, { identity }).start(), "select 1")).toBe(1);
    expect(statSync(dataDir).uid).toBe(identity.uid);
  });
});
