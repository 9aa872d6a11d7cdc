import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { runOnTerminal } from "../../test/release/pty.ts";
import { sharedHome, sharedUv } from "../../test/support/home.ts";
import { createLiteHome, runPath, triggerDag, waitForRun, type Lite, type LiteHome } from "../../test/support/lite.ts";
import { canMount, OWN_MOUNTS } from "../../test/support/mounts.ts";
import { until } from "../../test/support/until.ts";
import { extractArchive, verifyArchive } from "../backup/archive.ts";
import { connectionEnvironment } from "../backup/pg-dump.ts";
import { withClient } from "../backup/staging-database.ts";
import { programVersion } from "../kit/version.ts";
import { runCommand } from "../lite/command.ts";
import { databaseOf } from "../lite/postgres/managed-postgres.ts";
import { readPostmasterFile } from "../lite/postgres/stale-server.ts";
import { loadMigrations } from "../store/migrations.ts";

const program = join(sharedHome.program, "bin/leoflow");
const DAG = `
from airflow.sdk import dag, task

@dag(schedule=None)
def busy():
    @task
    def number(i: int):
        return i
    number.expand(i=list(range(8)))

busy()
`;

let home: LiteHome;
let folder: string;
beforeAll(async () => {
  home = await createLiteHome();
  writeFileSync(join(home.workspace, "busy.py"), DAG);
  mkdirSync(join(home.workspace, "empty"));
});
afterAll(() => home.remove());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-backup-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
  /** Of the program alone, in bytes. */
  peakMemory: number;
}

/** Root reads everything unless it goes without that right. */
const WITHOUT_ROOTS_EYES =
  process.getuid?.() === 0
    ? ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    : [];

/** Where root cannot make a user namespace, PostgreSQL's data is another user's, and root needs that right. */
function canBeLocked(): boolean {
  return process.getuid?.() !== 0 || spawnSync("unshare", ["-U", "true"]).status === 0;
}

const environment = (env: Record<string, string | undefined>) => ({
  ...process.env,
  ...{ LEOFLOW_HOME: home.home, LEOFLOW_WORKSPACE: home.workspace, LEOFLOW_BACKUP_PASSPHRASE: undefined, ...env },
});

function begin(args: string[], env: Record<string, string | undefined> = {}, wrapper: string[] = []) {
  const [command, ...rest] = [...wrapper, process.execPath, program, "lite", "backup", ...args];
  const child = spawn(command as string, rest, {
    cwd: folder,
    env: environment(env),
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended: Ended = { code: null, stdout: "", stderr: "", peakMemory: 0 };
  child.stdout.on("data", (data: Buffer) => (ended.stdout += data.toString()));
  child.stderr.on("data", (data: Buffer) => (ended.stderr += data.toString()));
  const watch = setInterval(() => {
    const peak = /VmHWM:\s+(\d+) kB/.exec(readIfThere(`/proc/${child.pid}/status`))?.[1];
    if (peak) ended.peakMemory = Number(peak) * 1024;
  }, 20);
  const end = new Promise<Ended>((done) =>
    child.once("close", (code) => {
      clearInterval(watch);
      done({ ...ended, code });
    }),
  );
  return { child, end };
}

const backup = (args: string[] = [], env: Record<string, string | undefined> = {}) => begin(args, env).end;

function readIfThere(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

/** A connection of our own to the home's database, while Lite runs. */
const onDatabase = <T>(work: (client: pg.Client) => Promise<T>, database?: string) =>
  withClient({ ...runningDatabase(), ...(database ? { database } : {}) }, work);

function runningDatabase() {
  const managed = join(home.home, "managed-postgres");
  const socketDir = readPostmasterFile(join(managed, "data"))?.socketDir ?? "";
  return databaseOf(managed, socketDir);
}

const postgresBin = () => {
  const managed = join(home.home, "managed-postgres");
  const version = readdirSync(managed).find((name) => name.startsWith("postgres-")) ?? "";
  return join(managed, version, "embedded_postgres/pginstall/bin");
};

describe("without an installation", () => {
  it("says so: no home, no config.yaml, no database", async () => {
    const none = join(folder, ".leoflow");
    expect(await backup([], { LEOFLOW_HOME: none })).toMatchObject({
      code: 1,
      stderr:
        `error: no Lite install found at ${none} — run \`leoflow setup\` first\n` +
        "  fix: or set LEOFLOW_HOME to the installation you mean\n",
    });
    mkdirSync(none);
    expect((await backup([], { LEOFLOW_HOME: none })).stderr).toMatch(
      `error: could not read ${none}/config.yaml\n  fix: `,
    );
    writeFileSync(join(none, "config.yaml"), "lite_port: 8088\n");
    expect((await backup([], { LEOFLOW_HOME: none })).stderr).toContain(
      `error: there is nothing to back up: ${none} has no database yet\n  fix: `,
    );
    expect(readdirSync(folder)).toEqual([".leoflow"]);
  });
});

describe("while Lite runs", () => {
  let lite: Lite;
  beforeAll(async () => {
    lite = await home.start();
  });
  afterAll(() => lite.stop());

  it("is of one moment though tasks go on, and is all there is", async () => {
    const runs: string[] = [];
    let done = false;
    const triggering = (async () => {
      while (!done || runs.length < 4) runs.push(await triggerDag(lite.client, "busy"));
    })();
    await until("a run is there", () => runs.length > 1);
    const file = join(folder, "busy.tar.gz");
    const { code, stdout, stderr } = await backup(["-o", file]);
    done = true;
    await triggering;
    expect([code, stderr]).toEqual([0, ""]);
    for (const run of runs) expect((await waitForRun(lite.client, "busy", run)).state).toBe("success");
    expect(runs.length).toBeGreaterThan(3);

    const { manifest } = await verifyArchive(file);
    const { entries, ...about } = manifest;
    expect(stdout.split("\n")).toEqual([
      "▸ snapshotting datastore via pg_dump …",
      `▸ bundling archive ${file} …`,
      `✓ backup written: ${file} (${statSync(file).size} bytes)`,
      `  manifest: ${JSON.stringify(about)}`,
      "",
    ]);
    expect(about).toEqual({
      ...{ manifest_version: 1, leoflow_version: programVersion, schema_version: loadMigrations().at(-1)?.version },
      postgres_version: expect.stringMatching(/^\d+\.\d+$/) as string,
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/) as string,
      ...{ home: home.home, workspace: home.workspace },
    });
    const names = Object.keys(entries);
    expect(names).toEqual(
      expect.arrayContaining(["config.yaml", "datastore.sql", "workspace/busy.py", "workspace/empty/"]),
    );
    expect(names.filter((name) => !/^(config\.yaml|datastore\.sql|workspace\/.*|versions\/.*)$/.test(name))).toEqual(
      [],
    );

    // Into an empty database and, as its --clean says, once more over what is there.
    mkdirSync(join(folder, "out"));
    await extractArchive(file, join(folder, "out"), { manifest });
    expect(readFileSync(join(folder, "out/config.yaml"), "utf8")).toBe(
      readFileSync(join(home.home, "config.yaml"), "utf8"),
    );
    const copy = { ...runningDatabase(), database: "copy" };
    await onDatabase((client) => client.query("create database copy"));
    for (let times = 0; times < 2; times++) {
      const psql = await runCommand(
        [
          join(postgresBin(), "psql"),
          "-qX",
          "--single-transaction",
          "--set=ON_ERROR_STOP=1",
          "-f",
          join(folder, "out/datastore.sql"),
        ],
        { env: connectionEnvironment(copy) },
      );
      expect([psql.code, psql.output]).toEqual([0, expect.not.stringContaining("ERROR")]);
    }
    await onDatabase(async (client) => {
      const { rows } = await client.query<{ runs: number; half: number }>(
        `select count(*)::int as runs, count(*) filter (where state = 'success' and 8 <>
           (select count(*) from task_instance ti where ti.dag_run_id = dag_run.id and ti.state = 'success'))::int as half
         from dag_run`,
      );
      expect(rows[0]?.half).toBe(0);
      expect(rows[0]?.runs).toBeGreaterThan(0);
    }, "copy");
    await onDatabase((client) => client.query("drop database copy"));
    await lite.client.call("GET", runPath("busy", runs[0] as string));
  });

  it("Ctrl-C in the middle leaves nothing, and kill -9 only what the next one removes", async () => {
    await onDatabase(async (client) => {
      const dumping = async () =>
        (await onDatabase((other) => other.query("select 1 from pg_stat_activity where application_name = 'pg_dump'")))
          .rowCount === 1;
      await client.query("begin; lock table connection in access exclusive mode");
      const called = begin([]);
      await until("pg_dump waits", dumping);
      expect(readdirSync(folder)).toEqual([expect.stringMatching(/^\.leoflow-backup-\d+-/)]);
      called.child.kill("SIGINT");
      expect(await called.end).toMatchObject({ code: 130, stderr: "" });
      expect(readdirSync(folder)).toEqual([]);

      await until("pg_dump is gone", async () => !(await dumping()));
      const killed = begin([]);
      await until("pg_dump waits", dumping);
      killed.child.kill("SIGKILL");
      await killed.end;
      expect(readdirSync(folder)).toEqual([expect.stringMatching(/^\.leoflow-backup-\d+-/)]);
      await client.query("rollback");
    });
    expect((await backup()).code).toBe(0);
    expect(readdirSync(folder)).toEqual([expect.stringMatching(/^leoflow-backup-/)]);
  });

  it("Leoflow that is stopped or killed meanwhile leaves no backup; the next one needs nothing else", async () => {
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      const blocker = new pg.Client(runningDatabase());
      blocker.on("error", () => undefined);
      await blocker.connect();
      await blocker.query("begin; lock table connection in access exclusive mode");
      const begun = begin([]);
      await until(
        "pg_dump waits",
        async () => (await blocker.query("select from pg_locks where not granted")).rowCount === 1,
      );
      lite.process.kill(signal);
      const { code, stderr } = await begun.end;
      expect([signal, code, readdirSync(folder)]).toEqual([signal, 1, []]);
      expect(stderr).toMatch(/^error: pg_dump failed: .+\n {2}fix: is the database up\? .+\n$/s);
      await blocker.end().catch(() => undefined);
      await lite.stop();
      expect((await backup(["-o", `after-${signal}.tar.gz`])).code).toBe(0);
      await verifyArchive(join(folder, `after-${signal}.tar.gz`));
      rmSync(join(folder, `after-${signal}.tar.gz`));
      if (signal === "SIGTERM") lite = await home.start();
    }
  });
});

describe("while it is stopped", () => {
  it("has a default name, and never writes over a file without --force", async () => {
    const first = await backup();
    expect(first.code).toBe(0);
    const [name] = readdirSync(folder) as [string];
    expect(name).toMatch(/^leoflow-backup-\d{4}-\d\d-\d\dT\d{6}Z\.tar\.gz$/);
    expect(first.stdout).toContain(`✓ backup written: ./${name} (`);
    expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
    await verifyArchive(join(folder, name));
    expect(await backup(["--output", name])).toMatchObject({
      code: 1,
      stderr: `error: ${join(folder, name)} exists already\n  fix: name another file, or write over this one with --force\n`,
    });
    expect((await backup(["--output", name, "--force", "--json"])).code).toBe(0);
    expect(readdirSync(home.home).filter((each) => each.startsWith(".leoflow-backup"))).toEqual([]);
  });

  it.runIf(canBeLocked())("--skip-unreadable leaves out what cannot be read, and says so", async () => {
    const workspace = join(folder, "workspace");
    mkdirSync(join(workspace, "locked"), { recursive: true });
    writeFileSync(join(workspace, "mine.py"), "# mine\n");
    writeFileSync(join(workspace, "locked/inside.py"), "");
    writeFileSync(join(workspace, "closed.py"), "", { mode: 0o000 });
    chmodSync(join(workspace, "locked"), 0o000);
    const args = ["--workspace", workspace, "-o", "part.tar.gz"];
    const refused = await begin(args, {}, WITHOUT_ROOTS_EYES).end;
    expect([refused.code, refused.stderr]).toEqual([
      1,
      `error: cannot read these:\n    ${workspace}/closed.py\n    ${workspace}/locked\n` +
        "  fix: make it readable for you, or leave such files out with `--skip-unreadable`\n",
    ]);
    expect(existsSync(join(folder, "part.tar.gz"))).toBe(false);
    const { code, stdout, stderr } = await begin([...args, "--skip-unreadable"], {}, WITHOUT_ROOTS_EYES).end;
    expect([code, stderr]).toEqual([0, ""]);
    for (const name of ["closed.py", "locked"]) {
      expect(stdout).toContain(`! ${workspace}/${name} cannot be read and is not in the backup\n`);
    }
    const { manifest } = await verifyArchive(join(folder, "part.tar.gz"));
    expect(Object.keys(manifest.entries).filter((name) => name.startsWith("workspace/"))).toEqual([
      "workspace/",
      "workspace/mine.py",
    ]);
    chmodSync(join(workspace, "locked"), 0o700);
  });

  it("holds setup.json where there is one", async () => {
    writeFileSync(join(home.home, "setup.json"), '{"port": 8123}\n');
    expect((await backup(["-o", "with-setup.tar.gz"])).code).toBe(0);
    const file = join(folder, "with-setup.tar.gz");
    const { manifest, has } = await verifyArchive(file);
    expect(has.setup).toBe(true);
    mkdirSync(join(folder, "out"));
    await extractArchive(file, join(folder, "out"), { manifest, only: (name) => name === "setup.json" });
    expect(readFileSync(join(folder, "out/setup.json"), "utf8")).toBe('{"port": 8123}\n');
    rmSync(join(home.home, "setup.json"));
  });

  it("--json is all that is printed; a folder as output gets the default name; --workspace names another", async () => {
    const { code, stdout, stderr } = await backup(["-o", folder, "--json", "--no-workspace"]);
    expect([code, stderr]).toEqual([0, ""]);
    const facts = JSON.parse(stdout) as { file: string; bytes: number; manifest: object };
    expect(facts).toMatchObject({ bytes: statSync(facts.file).size, encrypted: false, warnings: [] });
    expect(facts.manifest).toMatchObject({ manifest_version: 1, workspace: home.workspace });
    expect((await verifyArchive(facts.file)).has).toMatchObject({ config: true, workspace: false });
    const other = join(folder, "dags");
    mkdirSync(other);
    writeFileSync(join(other, "mine.py"), "");
    await backup(["--workspace", other, "-o", "other.tar.gz"]);
    expect(Object.keys((await verifyArchive(join(folder, "other.tar.gz"))).manifest.entries)).toContain(
      "workspace/mine.py",
    );
  });

  it("encrypts with a passphrase that is asked for twice; another program of that format reads it", async () => {
    const command = [process.execPath, program, "lite", "backup", "--encrypt", "-o", join(folder, "secret.tar.gz.age")];
    const env = environment({ LEOFLOW_HOME: home.home });
    const wrong = await runOnTerminal(
      command,
      [
        ["Passphrase: ", "one\r"],
        ["Passphrase again: ", "two\r"],
      ],
      env,
    );
    expect([wrong.code, wrong.output]).toEqual([1, expect.stringContaining("error: the two are not the same")]);
    const asked = await runOnTerminal(
      command,
      [
        ["Passphrase: ", "päss word\r"],
        ["Passphrase again: ", "päss word\r"],
      ],
      env,
    );
    expect(asked.code).toBe(0);
    expect(asked.output).not.toContain("word");
    expect(asked.output).toContain("▸ encrypting …");
    // Progress, redrawn on its own line.
    expect(asked.output).toMatch(/ {2}[\d.]+ \w+ of (the datastore|[\d.]+ \w+ of files)\r\u001b\[K/);

    const packages = join(folder, "python");
    const python = join(sharedHome.venv, "bin/python");
    const installed = await runCommand([
      await sharedUv(),
      "pip",
      "install",
      "-q",
      "--python",
      python,
      "--target",
      packages,
      "pyrage==1.2.5",
    ]);
    expect([installed.code, installed.output]).toEqual([0, expect.any(String)]);
    const plain = join(folder, "plain.tar.gz");
    const decrypt =
      "import sys, pyrage; sys.stdout.buffer.write(pyrage.passphrase.decrypt(open(sys.argv[1], 'rb').read(), 'päss word'))";
    const bytes = execFileSync(python, ["-c", decrypt, join(folder, "secret.tar.gz.age")], {
      env: { ...process.env, PYTHONPATH: packages },
      maxBuffer: 64e6,
    });
    writeFileSync(plain, bytes);
    await verifyArchive(plain);
  });

  it("takes the passphrase from the environment or a file; without any it stops before it begins", async () => {
    expect(await backup(["--encrypt"])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(
        /^error: no passphrase was given\n {2}fix: .*--passphrase-file or LEOFLOW_BACKUP_PASSPHRASE\n$/,
      ) as string,
    });
    writeFileSync(join(folder, "empty"), "\n");
    expect((await backup(["--passphrase-file", "empty"])).stderr).toContain(
      "error: the passphrase file empty is empty\n",
    );
    expect((await backup(["--passphrase-file", "none"])).stderr).toContain(
      "error: cannot read the passphrase file none",
    );
    expect(readdirSync(folder)).toEqual(["empty"]);
    const { stdout } = await backup(["--encrypt"], { LEOFLOW_BACKUP_PASSPHRASE: "from outside" });
    const file = /backup written: \.\/(leoflow-backup-.*\.tar\.gz\.age) \(/.exec(stdout)?.[1] ?? "";
    await verifyArchive(join(folder, file), { passphrase: "from outside" });
  });

  it("big files in little memory", async () => {
    const workspace = join(folder, "workspace");
    mkdirSync(workspace);
    // Half of it does not compress.
    for (const name of ["zeros", "noise"]) writeFileSync(join(workspace, name), "");
    truncateSync(join(workspace, "zeros"), 300e6);
    for (let times = 0; times < 20; times++) writeFileSync(join(workspace, "noise"), randomBytes(10e6), { flag: "a" });
    const { code, peakMemory } = await backup(["-o", "big.tar.gz", "--workspace", workspace]);
    expect(code).toBe(0);
    expect(statSync(join(folder, "big.tar.gz")).size).toBeLessThan(205e6);
    expect(peakMemory).toBeGreaterThan(30e6);
    expect(peakMemory).toBeLessThan(200e6);
  });
});

describe.runIf(canMount)("a full disk", () => {
  const onDisk = (size: string, args: string[]) => {
    const script = `mount -t tmpfs -o size=${size} none "$0" && "$@"; code=$?; ls -A "$0" >&2; exit $code`;
    mkdirSync(join(folder, "disk"));
    return begin(args, {}, [...OWN_MOUNTS, "sh", "-c", script, join(folder, "disk")]).end;
  };

  it("is seen before the work", async () => {
    const { code, stderr } = await onDisk("8m", ["-o", "disk/backup.tar.gz"]);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^error: the disk is full: 8\.4 MB are left where .*\/disk is, and the backup needs [\d.]+ MB or more\n {2}fix: .*\n$/,
    );
  });

  it("in the middle leaves nothing", async () => {
    const workspace = join(folder, "workspace");
    mkdirSync(workspace);
    writeFileSync(join(workspace, "noise"), randomBytes(60e6));
    const { code, stderr } = await onDisk("30m", ["-o", "disk/backup.tar.gz", "--workspace", workspace]);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^error: the disk is full where .*\/disk is; no backup was written\n {2}fix: .*--output FILE`\n$/,
    );
    expect(existsSync(join(folder, "disk/backup.tar.gz"))).toBe(false);
  });
});
