import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type pg from "pg";
import { pino } from "pino";
import { createBackup } from "../../src/backup/create-backup.ts";
import { connectionEnvironment } from "../../src/backup/pg-dump.ts";
import { withClient } from "../../src/backup/staging-database.ts";
import { newFernetKey, fernet } from "../../src/kit/fernet.ts";
import { startingPostgres, type Datastore } from "../../src/lite/datastore.ts";
import type { LeoflowPaths } from "../../src/lite/paths.ts";
import { silentProgress } from "../../src/lite/progress.ts";
import { openDatabase } from "../../src/store/database.ts";
import { migrate } from "../../src/store/migrate.ts";

const run = promisify(execFile);

export const datastoreOptions = (paths: LeoflowPaths) => ({
  paths,
  logger: pino({ level: "silent" }),
  progress: silentProgress,
  runtimeDir: undefined,
});

/** Works on a home's database. */
export function onDatabase<T>(
  paths: LeoflowPaths,
  work: (client: pg.Client, store: Datastore) => Promise<T>,
): Promise<T> {
  return startingPostgres(datastoreOptions(paths), (datastore) =>
    withClient(datastore.database, (client) => work(client, datastore)),
  );
}

export interface Installation {
  paths: LeoflowPaths;
  userHome: string;
  workspace: string;
  fernetKey: string;
}

/** A user's state without running anything: settings, files of every kind, rows. `label` tells two of them apart. */
export async function makeInstallation(paths: LeoflowPaths, label: string, workspace?: string): Promise<Installation> {
  const userHome = dirname(paths.home);
  const folder = workspace ?? join(userHome, "leoflow");
  const fernetKey = newFernetKey();
  mkdirSync(paths.home, { recursive: true, mode: 0o700 });
  writeFileSync(
    paths.config,
    `# settings of ${label}\nworkspace: ${folder} # mine\nadmin_email: ${label}@example.com\njwt_secret: ${label.padEnd(40, "x")}\n` +
      `fernet_key: ${fernetKey}\nlite_port: 8099\nparser_cmd: ${paths.home}/python/bin/python -m parser\n`,
    { mode: 0o600 },
  );
  writeFileSync(paths.setup, `{"label": "${label}"}\n`, { mode: 0o600 });
  const project = join(folder, "project");
  mkdirSync(join(folder, `only-${label}`), { recursive: true });
  mkdirSync(join(project, "bin"), { recursive: true });
  mkdirSync(join(folder, "empty"), { mode: 0o750 });
  writeFileSync(join(project, "dag.py"), `# ${label}\n`);
  writeFileSync(join(project, "bin/load.sh"), "#!/bin/sh\n");
  chmodSync(join(project, "bin/load.sh"), 0o755);
  symlinkSync("dag.py", join(project, "latest.py"));
  utimesSync(join(project, "dag.py"), 1_700_000_000.5, 1_700_000_000.5);
  const version = join(paths.versions, createHash("sha256").update(label).digest("hex"));
  mkdirSync(join(version, "project"), { recursive: true });
  writeFileSync(join(version, "project/dag.py"), `# ${label}\n`, { mode: 0o444 });
  symlinkSync(join(folder, "project/bin"), join(version, "project/bin"));
  // Nothing here outlasts a power cut, and need not.
  await onDatabase(paths, () => Promise.resolve());
  appendFileSync(join(paths.managedPostgres, "data/postgresql.conf"), "fsync = off\n");
  await onDatabase(paths, async (client, { database }) => {
    const opened = openDatabase({ ...database, maxConnections: 1 });
    await migrate(opened.pool);
    await opened.close();
    await client.query("insert into variable (key, val, is_encrypted) values ($1, $2, true)", [
      `of-${label}`,
      fernet(fernetKey).encrypt(`secret of ${label}`),
    ]);
    await client.query(
      "insert into dag (dag_id, fileloc, relative_fileloc, max_active_tasks) values ($1, $2, 'project/dag.py', 16)",
      [label, join(folder, "project/dag.py")],
    );
    await client.query(
      "insert into dag_run (dag_id, run_id, run_type, state, run_after) values ($1, 'one', 'manual', 'running', now())",
      [label],
    );
  });
  return { paths, userHome, workspace: folder, fernetKey };
}

/** An archive of it. */
export function backUp({ paths, workspace }: Installation, file: string, parts: { workspace?: boolean } = {}) {
  return startingPostgres(datastoreOptions(paths), ({ database, bin }) =>
    createBackup({
      file,
      datastore: { database, bin },
      config: paths.config,
      setup: paths.setup,
      workspace: parts.workspace === false ? undefined : workspace,
      versions: paths.versions,
      home: paths.home,
      progress: () => undefined,
    }),
  );
}

/** Everything of an installation that a user could miss, in a form that can be compared; and that nothing else is left over. */
export async function stateOf(paths: LeoflowPaths, workspace: string): Promise<Record<string, unknown>> {
  const database = await onDatabase(paths, async (client, store) => {
    const { rows } = await client.query<{ datname: string }>(
      "select datname from pg_database where not datistemplate order by 1",
    );
    const dump = await run(join(store.bin, "pg_dump"), ["--no-owner"], {
      env: { ...process.env, ...connectionEnvironment(store.database) },
      maxBuffer: 1 << 28,
    });
    // A new word at each run keeps psql's own commands out.
    return {
      databases: rows.map(({ datname }) => datname),
      dump: dump.stdout.replaceAll(/^\\(un)?restrict .*$/gm, ""),
    };
  });
  const home = readdirSync(paths.home).filter(
    (name) => !["managed-postgres", "venv", "logs", "snapshots", "lite.lock"].includes(name),
  );
  return {
    ...database,
    home: home.sort(),
    config: fileOf(paths.config),
    setup: fileOf(paths.setup),
    workspace: tree(workspace),
    versions: tree(paths.versions),
  };
}

/** Mode and content; when it was written is of no account. */
function fileOf(path: string): string {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found ? `${(found.mode & 0o7777).toString(8)} ${readFileSync(path, "utf8")}` : "missing";
}

/** Name, kind, mode, time and content of all below a path. */
export function tree(path: string, name = ""): string[] {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found) return [`${name} missing`];
  const facts = `${name} ${(found.mode & 0o7777).toString(8)}`;
  if (found.isSymbolicLink()) return [`${name} -> ${readlinkSync(path)}`];
  if (!found.isDirectory()) {
    // Archives know times to the microsecond.
    return [`${facts} ${Math.floor(found.mtimeMs)} ${readFileSync(path, "hex")}`];
  }
  return [
    // A folder's time tells of exchanges in it; what is archived of it is tested apart.
    facts,
    ...readdirSync(path)
      .sort()
      .flatMap((entry) => tree(join(path, entry), `${name}/${entry}`)),
  ];
}
