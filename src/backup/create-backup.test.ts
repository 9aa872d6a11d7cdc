import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { sharedHome } from "../../test/support/home.ts";
import { until } from "../../test/support/until.ts";
import { programVersion } from "../kit/version.ts";
import { silentProgress } from "../lite/progress.ts";
import { ensurePostgres } from "../lite/postgres/install.ts";
import { loadMigrations } from "../store/migrations.ts";
import { extractArchive, verifyArchive } from "./archive.ts";
import { backupName } from "./backup-name.ts";
import { createBackup, type BackupOptions } from "./create-backup.ts";

let database: TestDatabase;
let bin: string;
let folder: string;
beforeAll(async () => {
  database = await createTestDatabase();
  bin = await ensurePostgres(sharedHome, silentProgress);
  await database.pool.query("insert into variable (key, val) values ('greeting', 'hello')");
});
afterAll(() => database.close());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-backup-"));
  mkdirSync(join(folder, "home/versions"), { recursive: true });
  mkdirSync(join(folder, "workspace"));
  writeFileSync(join(folder, "home/config.yaml"), "lite_port: 8088\n");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function options(changes: Partial<BackupOptions> = {}): BackupOptions {
  return {
    file: join(folder, "backup.tar.gz"),
    datastore: { database: database.config, bin },
    config: join(folder, "home/config.yaml"),
    setup: undefined,
    workspace: join(folder, "workspace"),
    versions: join(folder, "home/versions"),
    home: join(folder, "home"),
    progress: () => undefined,
    ...changes,
  };
}

describe("an archive", () => {
  it("brings a tree of files back as it was", async () => {
    const workspace = join(folder, "workspace");
    mkdirSync(join(workspace, "empty"));
    mkdirSync(join(workspace, "read-only"));
    writeFileSync(join(workspace, "read-only/run.sh"), "#!/bin/sh\n", { mode: 0o755 });
    chmodSync(join(workspace, "read-only"), 0o555);
    const big = Buffer.alloc(3 * 1024 * 1024 + 17, "0123456789");
    writeFileSync(join(workspace, "big.bin"), big);
    writeFileSync(join(workspace, "new\nline"), "");
    writeFileSync(Buffer.concat([Buffer.from(`${workspace}/`), Buffer.from([0x66, 0xff, 0xfe, 0xc3])]), "odd");
    symlinkSync("big.bin", join(workspace, "relative"));
    symlinkSync("/etc/passwd", join(workspace, "absolute"));
    symlinkSync("nowhere", join(workspace, "dangling"));
    symlinkSync(workspace, join(workspace, "up"));
    linkSync(join(workspace, "big.bin"), join(workspace, "hard"));
    utimesSync(join(workspace, "big.bin"), 1_700_000_000.123456, 1_700_000_000.123456);
    for (const name of [".git", "sub/node_modules", "sub/venv"]) {
      mkdirSync(join(workspace, name), { recursive: true });
      writeFileSync(join(workspace, name, "file"), "no");
    }
    writeFileSync(join(folder, "home/versions/abc.tar"), "source");

    const { manifest, bytes, warnings } = await createBackup(options());
    expect(warnings).toEqual([]);
    expect(bytes).toBe(statSync(join(folder, "backup.tar.gz")).size);
    expect(statSync(join(folder, "backup.tar.gz")).mode & 0o777).toBe(0o600);
    expect(manifest).toMatchObject({
      manifest_version: 1,
      leoflow_version: programVersion,
      schema_version: loadMigrations().at(-1)?.version,
      home: join(folder, "home"),
      workspace,
    });
    expect(manifest.created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(manifest.postgres_version).toMatch(/^\d+\.\d+$/);

    const verified = await verifyArchive(join(folder, "backup.tar.gz"));
    expect(verified.manifest).toEqual(manifest);
    expect(verified.has).toEqual({ config: true, setup: false, workspace: true, versions: true });

    const out = join(folder, "out");
    mkdirSync(out);
    await extractArchive(join(folder, "backup.tar.gz"), out);
    expect(readdirSync(out).sort()).toEqual(["config.yaml", "datastore.sql", "versions", "workspace"]);
    expect(readFileSync(join(out, "workspace/big.bin")).equals(big)).toBe(true);
    expect(statSync(join(out, "workspace/read-only")).mode & 0o777).toBe(0o555);
    expect(readlinkSync(join(out, "workspace/absolute"))).toBe("/etc/passwd");
    expect(lstatSync(join(out, "workspace/up")).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(out, "datastore.sql"), "utf8")).toContain("DROP TABLE IF EXISTS");
    expect(() => execFileSync("tar", ["-tzf", join(folder, "backup.tar.gz")])).not.toThrow();
    rmSync(join(workspace, ".git"), { recursive: true });
    rmSync(join(workspace, "sub/node_modules"), { recursive: true });
    rmSync(join(workspace, "sub/venv"), { recursive: true });
    expect(execFileSync("diff", ["-r", "--no-dereference", workspace, join(out, "workspace")]).toString()).toBe("");
  });

  it("is encrypted with a passphrase", async () => {
    const file = join(folder, "backup.tar.gz.age");
    const { manifest } = await createBackup(options({ file, passphrase: "correct horse" }));
    expect((await verifyArchive(file, { passphrase: "correct horse" })).manifest).toEqual(manifest);
    await expect(verifyArchive(file, { passphrase: "wrong" })).rejects.toThrow("the passphrase does not open");
    await expect(verifyArchive(file)).rejects.toThrow("no passphrase was given");
    expect(readdirSync(join(folder, "home")).sort()).toEqual(["config.yaml", "versions"]);
  });
});

describe("the output file", () => {
  it("is not written over without being asked to, not even when it comes to be meanwhile", async () => {
    const file = join(folder, "backup.tar.gz");
    writeFileSync(file, "mine");
    await expect(createBackup(options())).rejects.toThrow(`${file} exists already`);
    rmSync(file);
    const onPhase = () => writeFileSync(file, "mine");
    await expect(createBackup(options({ onPhase }))).rejects.toThrow(`${file} exists already`);
    expect(readFileSync(file, "utf8")).toBe("mine");
    expect(readdirSync(folder).sort()).toEqual(["backup.tar.gz", "home", "workspace"]);
    await createBackup(options({ overwrite: true }));
    await verifyArchive(file);
  });

  it("needs a folder that can be written", async () => {
    await expect(createBackup(options({ file: join(folder, "none/backup.tar.gz") }))).rejects.toThrow(
      `cannot write into ${folder}/none: it does not exist`,
    );
    await expect(createBackup(options({ file: join(folder, "home") }))).rejects.toThrow("is a folder");
    await expect(createBackup(options({ file: join(folder, "home"), overwrite: true }))).rejects.toThrow("is a folder");
  });

  it("and other backups, and Leoflow's home, are not in it where they lie in the workspace", async () => {
    const name = backupName(new Date(), false);
    const earlier = "leoflow-backup-2026-05-28T093000Z.tar.gz";
    for (const each of [earlier, "notes.tar.gz", ".leoflow-backup-999999-0123456789ab"]) {
      writeFileSync(join(folder, each), "x");
    }
    writeFileSync(join(folder, "mine.tar.gz"), "an old one");
    const file = join(folder, "mine.tar.gz");
    const { manifest, warnings } = await createBackup(options({ workspace: folder, file, overwrite: true }));
    expect(Object.keys(manifest.entries).filter((each) => each.startsWith("workspace/"))).toEqual([
      ...["workspace/", "workspace/notes.tar.gz", "workspace/workspace/"],
    ]);
    expect(warnings).toEqual([`${earlier} in the workspace is a backup itself and is not in this one`]);
    expect(name).toMatch(/^leoflow-backup-\d{4}-\d\d-\d\dT\d{6}Z\.tar\.gz$/);
    await verifyArchive(file);
  });
});

describe("what is missing", () => {
  it("a workspace that is not there is an error; versions may be missing", async () => {
    rmSync(join(folder, "workspace"), { recursive: true });
    rmSync(join(folder, "home/versions"), { recursive: true });
    const { file } = options();
    await expect(createBackup(options())).rejects.toThrow(`the workspace ${folder}/workspace: it does not exist`);
    const { manifest } = await createBackup(options({ withoutWorkspaceFiles: true }));
    expect(manifest.workspace).toBe(join(folder, "workspace"));
    expect((await verifyArchive(file)).has).toMatchObject({ workspace: false, versions: false });
    await createBackup(options({ workspace: undefined, overwrite: true }));
    expect((await verifyArchive(file)).manifest.workspace).toBeUndefined();
  });

  it("a database that is not there", async () => {
    const nowhere = { ...database.config, database: "no_such_database" };
    await expect(createBackup(options({ datastore: { database: nowhere, bin } }))).rejects.toThrow(
      'cannot reach the database: database "no_such_database" does not exist',
    );
    expect(readdirSync(folder).sort()).toEqual(["home", "workspace"]);
  });
});

describe("an end in the middle", () => {
  /** pg_dump waits for this lock: the middle lasts as long as we like. */
  /** `dumps` are the pg_dumps there are; those `held` have come as far as the table that is locked. */
  async function whileDumping(work: (dumps: (held?: "held") => Promise<number[]>) => Promise<void>): Promise<void> {
    const client = await database.pool.connect();
    await client.query("begin; lock table variable in access exclusive mode");
    // By another connection: a transaction sees the same activity as long as it lasts.
    const dumps = async (held?: "held") => {
      const { rows } = await database.pool.query<{ pid: number; held: boolean }>(
        `select pid, wait_event_type is not distinct from 'Lock' as held from pg_stat_activity
        where datname = current_database() and application_name = 'pg_dump'`,
      );
      return rows.filter((row) => row.held || held === undefined).map(({ pid }) => pid);
    };
    try {
      await work(dumps);
    } finally {
      await client.query("rollback");
      client.release();
    }
  }

  it("called off: nothing is left, no file and no pg_dump", async () => {
    await whileDumping(async (dumps) => {
      const calledOff = new AbortController();
      const backup = createBackup(options({ signal: calledOff.signal, passphrase: "x" }));
      backup.catch(() => undefined);
      await until("pg_dump runs", async () => (await dumps()).length === 1);
      expect(readdirSync(join(folder, "home")).some((name) => name.startsWith(".leoflow-backup-"))).toBe(true);
      calledOff.abort(new Error("called off"));
      await expect(backup).rejects.toThrow("called off");
      await until("pg_dump is gone", async () => (await dumps()).length === 0);
    });
    expect(readdirSync(folder).sort()).toEqual(["home", "workspace"]);
    expect(readdirSync(join(folder, "home")).sort()).toEqual(["config.yaml", "versions"]);
  });

  it("pg_dump's own failure is told with its words", async () => {
    await whileDumping(async (dumps) => {
      const backup = createBackup(options());
      backup.catch(() => undefined);
      await until("pg_dump asks for the locked table", async () => (await dumps("held")).length === 1);
      for (const pid of await dumps()) await database.pool.query("select pg_terminate_backend($1)", [pid]);
      await expect(backup).rejects.toThrow(/^pg_dump failed: pg_dump: error: query failed/);
    });
    expect(readdirSync(folder).sort()).toEqual(["home", "workspace"]);
  });

  it("what killed ones left is removed by the next, what others write is not", async () => {
    const left = `.leoflow-backup-${deadPid()}-0123456789ab`;
    const alive = `.leoflow-backup-${process.ppid}-0123456789ab`;
    for (const at of [folder, join(folder, "home")])
      for (const name of [left, alive]) writeFileSync(join(at, name), "");
    await createBackup(options());
    expect(readdirSync(folder).sort()).toEqual([alive, "backup.tar.gz", "home", "workspace"]);
    expect(readdirSync(join(folder, "home")).sort()).toEqual([alive, "config.yaml", "versions"]);
  });
});

function deadPid(): number {
  const { pid } = spawnSync("true");
  return pid;
}

it("the connection's password is on no command line", async () => {
  const lines: string[] = [];
  const client = await database.pool.connect();
  await client.query("begin; lock table variable in access exclusive mode");
  const backup = createBackup(options());
  await until("pg_dump runs", () => {
    lines.push(...execFileSync("ps", ["-eo", "args"], { encoding: "utf8" }).split("\n"));
    return lines.some((line) => /pg_dump .*--snapshot/.test(line) && !line.includes("ps "));
  });
  await client.query("rollback");
  client.release();
  await backup;
  const dump = lines.find((line) => /pg_dump .*--snapshot/.test(line));
  expect(dump).toContain("--clean --if-exists --no-owner --no-privileges --format=plain --no-password");
  expect(lines.filter((line) => line.includes(database.config.password) && database.config.password !== "")).toEqual(
    [],
  );
});

it("the dump is of one moment, while others write", async () => {
  const client = await database.pool.connect();
  await client.query("begin; lock table xcom in access exclusive mode");
  const backup = createBackup(options());
  await until("pg_dump waits", async () => {
    const { rows } = await client.query("select 1 from pg_locks where not granted");
    return rows.length > 0;
  });
  // The backup has begun: it does not see this any more.
  await database.pool.query("insert into variable (key, val) values ('later', 'x')");
  await client.query("rollback");
  client.release();
  await backup;
  mkdirSync(join(folder, "out"));
  await extractArchive(join(folder, "backup.tar.gz"), join(folder, "out"), {
    only: (name) => name === "datastore.sql",
  });
  const dump = readFileSync(join(folder, "out/datastore.sql"), "utf8");
  expect(dump).toMatch(/\tgreeting\t/);
  expect(dump).not.toMatch(/\tlater\t/);
});
