import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it, vi } from "vitest";
import { createDocker, type TestDocker } from "../../test/support/docker.ts";
import { createHome } from "../../test/support/home.ts";
import { contentsOf } from "../../test/support/machine.ts";
import { extractArchive } from "../backup/archive.ts";
import { createBackup } from "../backup/create-backup.ts";
import { readEnvironment } from "../kit/config.ts";
import { UserError } from "../kit/user-error.ts";
import { openDatabase, type DatabaseConfig } from "../store/database.ts";
import { migrate, newerSchemaMessage } from "../store/migrate.ts";
import { loadMigrations } from "../store/migrations.ts";
import { loadOrCreateConfig } from "./config-file.ts";
import { removeVolume, volumesOf } from "./docker-volume.ts";
import type { LeoflowPaths } from "./paths.ts";
import { silentProgress, type Progress } from "./progress.ts";
import { startLite, type ControlPlaneOptions, type RunningLite } from "./start.ts";

vi.setConfig({ testTimeout: 120_000 });

let docker: TestDocker;
let paths: LeoflowPaths;
let remove: () => void;
let running: RunningLite | undefined;
let seen: ControlPlaneOptions | undefined;
// Starting clusters takes the time here: each kind is made once and copied.
beforeAll(async () => {
  docker = await createDocker(inject("postgresBin"));
});
afterAll(() => docker.remove());
beforeEach(() => {
  ({ paths, remove } = createHome());
  for (const [name, value] of Object.entries(docker.env)) vi.stubEnv(name, value);
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  docker.clear();
  vi.unstubAllEnvs();
  remove();
});

const hash = () => createHash("sha256").update(paths.home).digest("hex").slice(0, 12);
const ownVolume = () => `leoflow-data-${hash()}`;
const dataDir = () => join(paths.managedPostgres, "data");
const marker = () => JSON.parse(readFileSync(join(paths.managedPostgres, "docker-volume.json"), "utf8")) as object;

async function start(options: { progress?: Progress; signal?: AbortSignal; env?: Record<string, string> } = {}) {
  const environment = readEnvironment({
    ...{ HOME: dirname(paths.home), LEOFLOW_HOME: paths.home, PATH: "/usr/bin:/bin" },
    ...options.env,
  });
  running = await startLite({
    environment,
    port: await freePort(),
    // What is adopted is below the control plane.
    startControlPlane: async (given) => {
      seen = given;
      return { url: "", stop: async () => undefined };
    },
    progress: options.progress ?? silentProgress,
    onWarning: () => undefined,
    onFailure: (error) => {
      throw error;
    },
    signal: options.signal ?? new AbortController().signal,
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}

const refusal = async (work: Promise<unknown>): Promise<UserError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(UserError);
  return error as UserError;
};

async function query<T extends object>(config: DatabaseConfig | undefined, text: string): Promise<T[]> {
  const client = new pg.Client(config);
  await client.connect();
  try {
    return (await client.query<T>(text)).rows;
  } finally {
    await client.end();
  }
}

/** A migrated database with some of the user's rows, text that a dump must escape among them. */
async function ours(config: DatabaseConfig): Promise<void> {
  const database = openDatabase(config);
  const { pool } = database;
  await migrate(pool);
  await pool.query(
    `insert into variable (key, val, is_encrypted) values ('tab', E'a\\tb\\n\\\\.', false), ('ä', '☃', true)`,
  );
  await pool.query("insert into connection (conn_id, conn_type) values ('db', 'postgres')");
  await database.close();
}

const variables = () =>
  query<{ key: string; val: string }>(seen?.database, "select key, val from variable order by key");
const VARIABLES = [
  { key: "tab", val: "a\tb\n\\." },
  { key: "ä", val: "☃" },
];

async function expectBackedUp(): Promise<void> {
  if (!seen) throw new Error("it has started");
  const folder = join(dirname(paths.home), "backup");
  mkdirSync(join(folder, "out"), { recursive: true });
  const file = join(folder, "backup.tar.gz");
  await createBackup({
    ...{ file, home: paths.home, config: paths.config, setup: undefined, versions: undefined, workspace: undefined },
    datastore: { database: seen.database, bin: inject("postgresBin") },
    progress: () => undefined,
  });
  await extractArchive(file, join(folder, "out"));
  expect(readFileSync(join(folder, "out/datastore.sql"), "utf8")).toContain("tab\ta\\tb\\n\\\\.\t");
}

describe("P4: the database in this home's Docker volume", () => {
  it("is taken over by a first start, whole, and backed up like any other (B10); the volume stays as it was", async () => {
    await docker.makeVolume(ownVolume(), ours);
    const volumeFolder = join(docker.env["LEOFLOW_FAKE_DOCKER"] ?? "", "volumes", ownVolume());
    const before = contentsOf(volumeFolder);
    const notes: string[] = [];
    await start({ progress: { ...silentProgress, note: (text) => notes.push(text) } });
    expect(await variables()).toEqual(VARIABLES);
    expect(await query(seen?.database, "select conn_id from connection")).toEqual([{ conn_id: "db" }]);
    expect(notes.join()).toContain(`The database of Docker volume ${ownVolume()} is now in ${paths.managedPostgres}`);
    expect(docker.volumes()).toEqual([ownVolume()]);
    expect(contentsOf(volumeFolder)).toEqual(before);
    expect(marker()).toMatchObject({ volume: ownVolume(), state: "adopted" });
    expect(await query(seen?.database, "select datname from pg_database where not datistemplate order by 1")).toEqual([
      { datname: "leoflow" },
      { datname: "postgres" },
    ]);
    await expectBackedUp();
    await running?.stop();
    expect(readFileSync(join(paths.logs, "leoflow.log"), "utf8")).toContain(
      "took over the database of a Docker volume",
    );

    // A later start asks Docker nothing, and what was written since stays.
    const calls = docker.calls().length;
    await start();
    await query(seen?.database, "delete from variable where key = 'tab'");
    await running?.stop();
    await start();
    expect(await variables()).toHaveLength(1);
    expect(docker.calls()).toHaveLength(calls);
  });

  it("is found in the layout of PostgreSQL 18's image, and when the server runs", async () => {
    await docker.makeVolume(ownVolume(), ours, "18/docker");
    await start();
    expect(await variables()).toEqual(VARIABLES);
    await running?.stop();
    remove();
    ({ paths, remove } = createHome());

    await docker.makeVolume(ownVolume(), ours);
    const server = `leoflow-test-server-${process.pid}`;
    docker.startServer(ownVolume(), server);
    await start();
    expect(await variables()).toEqual(VARIABLES);
    expect(docker.isRunning(server)).toBe(true);
  });

  it("is taken over by the next start where one was called off or killed on the way", async () => {
    await docker.makeVolume(ownVolume(), ours);
    const calledOff = new AbortController();
    const progress: Progress = {
      ...silentProgress,
      step: async (title, work) => {
        if (title.startsWith("Take over")) calledOff.abort(new Error("called off"));
        return work(() => undefined);
      },
    };
    await expect(start({ progress, signal: calledOff.signal })).rejects.toThrow("called off");
    expect(existsSync(dataDir())).toBe(true);
    expect(marker()).toMatchObject({ state: "adopting" });
    await start();
    expect(await variables()).toEqual(VARIABLES);
    await running?.stop();

    // Killed after the database was in place, before that was noted.
    writeFileSync(
      join(paths.managedPostgres, "docker-volume.json"),
      JSON.stringify({ volume: ownVolume(), state: "adopting", at: "" }),
    );
    await start();
    expect(await variables()).toEqual(VARIABLES);
    expect(marker()).toMatchObject({ state: "adopted" });
  });

  it("is not looked for where it cannot be had again: the user is told, and can go on without", async () => {
    mkdirSync(paths.managedPostgres, { recursive: true });
    writeFileSync(
      join(paths.managedPostgres, "docker-volume.json"),
      JSON.stringify({ volume: ownVolume(), state: "adopting", at: "" }),
    );
    const error = await refusal(start());
    expect(error.message).toBe(`there is no Docker volume ${ownVolume()}`);
    expect(error.fix).toContain("set it to none for an empty database");
    await start({ env: { LEOFLOW_DOCKER_VOLUME: "none" } });
    expect(await variables()).toEqual([]);
  });
});

describe("other volumes", () => {
  const configure = async () => {
    const { save } = await loadOrCreateConfig(paths, { userHome: dirname(paths.home), adminPassword: undefined });
    save();
  };

  it("are taken over where the home was configured and there is one; of several one is to be named", async () => {
    await docker.makeVolume("leoflow-data-000000000001", ours);
    await start();
    expect(await variables()).toEqual([]);
    await running?.stop();
    remove();

    ({ paths, remove } = createHome());
    await configure();
    await docker.makeVolume("leoflow-data-000000000002", ours);
    const error = await refusal(start());
    expect(error.message).toContain("several Docker volumes may hold it: leoflow-data-000000000001, leoflow-data-0000");
    expect(existsSync(dataDir())).toBe(false);
    await start({ env: { LEOFLOW_DOCKER_VOLUME: "leoflow-data-000000000002" } });
    expect(await variables()).toEqual(VARIABLES);
    expect(await volumesOf(paths)).toEqual(["leoflow-data-000000000002"]);
  });

  it("with the database of the Go project are refused with what it is, and nothing is written", async () => {
    const volume = `leoflow-${hash()}_leoflow_pgdata`;
    await docker.makeVolume(volume, async (config) => {
      await query(config, "create table schema_migrations (version bigint primary key, dirty boolean not null)");
      await query(config, "insert into schema_migrations values (15, false)");
      await query(config, "create table tenants (id uuid primary key)");
    });
    const error = await refusal(start());
    expect(error.message).toMatch(
      `cannot take over Docker volume ${volume}, database leoflow: the database belongs to another program: its schema_migrations ` +
        "has the columns dirty, version, as golang-migrate and the earlier Leoflow written in Go make it",
    );
    expect(error.fix).toContain("LEOFLOW_DOCKER_VOLUME=none");
    expect(existsSync(dataDir())).toBe(false);
    expect(existsSync(join(paths.managedPostgres, "docker-volume.json"))).toBe(false);
    await start({ env: { LEOFLOW_DOCKER_VOLUME: "none" } });
    expect(docker.volumes()).toEqual([volume]);
  });

  it("with another program's database are refused", async () => {
    await docker.makeVolume(ownVolume(), async (config) => {
      await query(config, "create table customers (id integer)");
    });
    expect((await refusal(start())).message).toBe(
      `cannot take over Docker volume ${ownVolume()}: its database leoflow is another program's (tables customers, …)`,
    );
    expect(existsSync(dataDir())).toBe(false);
  });

  it("of a newer release are refused with the contract's text", async () => {
    const newest = loadMigrations().at(-1)?.version ?? 0;
    await docker.makeVolume(ownVolume(), async (config) => {
      await ours(config);
      await query(config, `insert into schema_migrations (version, name) values (${newest + 3}, 'future')`);
    });
    expect((await refusal(start())).message).toContain(newerSchemaMessage(newest + 3, newest));
    expect(existsSync(dataDir())).toBe(false);
  });

  it("without anything in them are of no use", async () => {
    await docker.makeVolume(ownVolume(), () => Promise.resolve());
    await start();
    expect(await variables()).toEqual([]);
  });

  it("U6: removing takes only this home's", async () => {
    await docker.makeVolume(ownVolume(), ours);
    await docker.makeVolume("leoflow-data-000000000001", ours);
    const server = `leoflow-test-server-${process.pid}`;
    docker.startServer(ownVolume(), server);
    expect(await removeVolume(paths)).toEqual([{ volume: ownVolume(), problem: undefined }]);
    expect(docker.volumes()).toEqual(["leoflow-data-000000000001"]);
    expect(await removeVolume(paths)).toEqual([]);
  });
});

describe("where Docker is of no use", () => {
  const withDocker = (script: string) => {
    const bin = join(dirname(paths.home), "bin");
    mkdirSync(bin, { recursive: true });
    writeFileSync(join(bin, "docker"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    vi.stubEnv("PATH", `${bin}:${readEnvironment().path}`);
  };

  it("a first start goes on without it: it hangs, its daemon is down, it does not exist", async () => {
    withDocker("trap '' TERM; sleep 7");
    let began = performance.now();
    expect(await volumesOf(paths)).toEqual([]);
    expect(performance.now() - began).toBeLessThan(3_000);
    withDocker("echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock.' >&2; exit 1");
    await start();
    expect(await variables()).toEqual([]);
    vi.stubEnv("PATH", "");
    began = performance.now();
    expect(await volumesOf(paths)).toEqual([]);
    expect(performance.now() - began).toBeLessThan(200);
  });
});
