import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished, vi } from "vitest";
import { craftArchive } from "../../../test/support/craft-archive.ts";
import { createHome } from "../../../test/support/home.ts";
import {
  backUp,
  datastoreOptions,
  makeInstallation,
  onDatabase,
  stateOf,
  tree,
  type Installation,
} from "../../../test/support/installation.ts";
import { fernet } from "../../kit/fernet.ts";
import { loadOrCreateConfig } from "../config-file.ts";
import { acquireHomeLock } from "../home-lock.ts";
import type { LeoflowPaths } from "../paths.ts";
import { copyStarterInto } from "../starter.ts";
import { restoreInstallation, type RestoreOptions } from "./restore.ts";

let folder: string;
let source: Installation;
/** Of `source`. */
let archive: string;
/** One that every test leaves as it was. */
let target: Installation;
let before: Awaited<ReturnType<typeof stateOf>>;
/** `source` restored where nothing was. */
let restored: { paths: LeoflowPaths; userHome: string } & Awaited<ReturnType<typeof restore>>;
const removals: (() => void)[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-restore-"));
  const homes = [createHome(), createHome(), createHome()] as const;
  removals.push(...homes.map((home) => home.remove));
  source = await makeInstallation(homes[0].paths, "source");
  archive = join(folder, "source.tar.gz");
  await backUp(source, archive);
  target = await makeInstallation(homes[1].paths, "target");
  before = await stateOf(target.paths, target.workspace);
  const { paths } = homes[2];
  restored = { paths, userHome: dirname(paths.home), ...(await restore(paths, archive)) };
});
afterAll(() => {
  for (const remove of removals) remove();
  rmSync(folder, { recursive: true, force: true });
});

/** A machine where Leoflow never ran: PostgreSQL's programs are there, nothing else. */
function newHome(): { paths: LeoflowPaths; userHome: string } {
  const { paths, remove } = createHome();
  onTestFinished(remove);
  return { paths, userHome: dirname(paths.home) };
}

async function restore(paths: LeoflowPaths, file: string, options: Partial<RestoreOptions> = {}) {
  const lines: string[] = [];
  const notes: string[] = [];
  const result = await restoreInstallation({
    ...datastoreOptions(paths),
    progress: { step: (_title, work) => work(() => undefined), note: (text) => notes.push(text) },
    archive: file,
    environment: { userHome: dirname(paths.home), workspace: undefined },
    force: false,
    dryRun: false,
    snapshot: true,
    say: (line) => lines.push(line),
    ...options,
  });
  return { ...result, lines, notes };
}

let crafted = 0;
const craft = (entries: Record<string, string>, about: Parameters<typeof craftArchive>[2] = {}) =>
  craftArchive(join(folder, `crafted-${crafted++}.tar.gz`), entries, about);

describe("the promised rows", () => {
  it("R2: refuses a newer schema, and --force does not silence that", async () => {
    const { paths } = newHome();
    const newer = await craft({ "datastore.sql": "" }, { schema_version: 900 });
    await expect(restore(paths, newer, { force: true })).rejects.toThrow(
      /^backup was taken on a newer schema \(version 900\) than this binary supports \(\d+\); upgrade leoflow before restoring this archive$/,
    );
    expect(existsSync(join(paths.managedPostgres, "data"))).toBe(false);
  });

  it("R3: refuses to overwrite an install without --force; with it, what was there is saved first", async () => {
    await expect(restore(target.paths, archive)).rejects.toThrow(
      "refusing: restore would overwrite an existing install at ~/.leoflow; pass --force to confirm, or move/back-up the existing install first",
    );
    expect(await stateOf(target.paths, target.workspace)).toEqual(before);

    const { snapshot = "" } = await restore(target.paths, archive, { force: true });
    expect(snapshot).toMatch(/snapshots\/\d{4}-\d\d-\d\dT\d{6}Z-before-restore\.tar\.gz$/);
    expect(readFileSync(join(target.workspace, "project/dag.py"), "utf8")).toBe("# source\n");
    const saved = await restore(target.paths, snapshot, { force: true, snapshot: false });
    expect(saved.snapshot).toBeUndefined();
    expect(await stateOf(target.paths, target.workspace)).toEqual(before);
  });

  it("R3: files in the workspace are not overwritten without --force either", async () => {
    const { paths, userHome } = newHome();
    mkdirSync(join(userHome, "leoflow"));
    writeFileSync(join(userHome, "leoflow/mine.py"), "# mine\n");
    await expect(restore(paths, archive)).rejects.toThrow(
      `refusing: restore would overwrite the files in the workspace ${userHome}/leoflow; pass --force to confirm`,
    );
    expect(existsSync(join(paths.managedPostgres, "data"))).toBe(false);
    const { snapshot = "" } = await restore(paths, archive, { force: true });
    expect(execFileSync("tar", ["-tzf", snapshot], { encoding: "utf8" })).toContain("workspace/mine.py");
  });

  it("R4: says what is wrong with the manifest", async () => {
    const { paths } = newHome();
    execFileSync("tar", ["-czf", join(folder, "other.tar.gz"), "-C", source.workspace, "project"]);
    await expect(restore(paths, join(folder, "other.tar.gz"))).rejects.toThrow(
      "archive has no MANIFEST.json; is this a leoflow backup?",
    );
    await expect(restore(paths, await craft({ "datastore.sql": "" }, { manifest_version: 0 }))).rejects.toThrow(
      "backup manifest has no manifest_version field; archive is corrupt or pre-v1",
    );
    await expect(restore(paths, await craft({ "datastore.sql": "" }, { manifest_version: 7 }))).rejects.toThrow(
      "backup manifest_version 7 is newer than this binary supports (1); upgrade leoflow",
    );
  });

  it("R5: takes an older schema of another release as it is; the next start migrates", async () => {
    const { paths } = newHome();
    const older = await craft(
      { "datastore.sql": "create table kept (x integer); insert into kept values (7);" },
      { schema_version: 0, leoflow_version: "0.0.3" },
    );
    await restore(paths, older);
    const rows = await onDatabase(
      paths,
      async (client) => (await client.query("select x from kept")).rows as unknown[],
    );
    expect(rows).toEqual([{ x: 7 }]);
  });

  it("R6: refuses an archive without datastore.sql", async () => {
    const { paths } = newHome();
    await expect(restore(paths, await craft({ "config.yaml": "lite_port: 1\n" }))).rejects.toThrow(
      "archive has no datastore.sql; cannot restore datastore",
    );
  });

  it("R8: says what is read and done", async () => {
    const { paths, lines, rows, workspace } = restored;
    expect(lines).toEqual([
      `▸ reading manifest from ${archive}`,
      expect.stringMatching(/^ {2}archive: leoflow=\S+ schema=\d+ created=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      "▸ replaying datastore via psql …",
    ]);
    expect(rows).toEqual({ dag_run: 1, task_instance: 0, variable: 1, connection: 0 });
    expect(workspace).toEqual({ path: join(dirname(paths.home), "leoflow"), files: 3 });
  });
});

describe("where the public project fails", () => {
  it("(a) restores after setup and a first start, without --force", async () => {
    const { paths, userHome } = newHome();
    await loadOrCreateConfig(paths, { userHome, adminPassword: undefined });
    writeFileSync(paths.setup, "{}\n");
    mkdirSync(join(userHome, "leoflow"));
    copyStarterInto(join(userHome, "leoflow"), paths);
    await onDatabase(paths, async (client) => {
      await client.query("create table dag (dag_id text); insert into dag values ('starter')");
      await client.query("create table pool (pool text); insert into pool values ('default_pool')");
      await client.query("create table variable (key text)");
    });
    const { snapshot } = await restore(paths, archive);
    expect(snapshot).toBeUndefined();
    expect(tree(join(userHome, "leoflow"))).toEqual(tree(source.workspace));
    expect(readFileSync(paths.setup, "utf8")).toBe('{"label": "source"}\n');
  });

  it("(b) needs no running PostgreSQL and never asks a foreign one", async () => {
    const { paths } = newHome();
    const foreign = inject("postgres");
    vi.stubEnv("PGHOST", foreign.host);
    vi.stubEnv("PGPORT", String(foreign.port));
    vi.stubEnv("PGDATABASE", foreign.database);
    onTestFinished(() => void vi.unstubAllEnvs());
    await restore(paths, archive);
    const secret = await onDatabase(paths, async (client) => {
      const { rows } = await client.query<{ val: string }>("select val from variable where key = 'of-source'");
      return fernet(source.fernetKey).decrypt(rows[0]?.val ?? "");
    });
    expect(secret).toBe("secret of source");
  });

  it("(c) leaves all as it was when psql fails in the middle", async () => {
    const broken = await craft({
      "config.yaml": "lite_port: 1\n",
      "setup.json": "{}",
      "datastore.sql": "create table a (x integer);\ninsert into a values (1);\nselect nonsense;\ncreate table b ();\n",
      "workspace/": "",
      "workspace/dag.py": "# broken\n",
    });
    await expect(restore(target.paths, broken, { force: true, snapshot: false })).rejects.toThrow(
      /^the datastore cannot be restored: psql:<stdin>:3: ERROR: {2}column "nonsense" does not exist/,
    );
    expect(await stateOf(target.paths, target.workspace)).toEqual(before);

    const fresh = newHome();
    await expect(restore(fresh.paths, broken)).rejects.toThrow("nonsense");
    expect(existsSync(fresh.paths.config)).toBe(false);
    expect(existsSync(join(fresh.paths.managedPostgres, "data"))).toBe(false);
    expect(existsSync(join(fresh.userHome, "leoflow"))).toBe(false);
  });

  it("(d) refuses entries that lead out of the workspace, also through a link", async () => {
    const { paths } = newHome();
    const dump = { "datastore.sql": "", "workspace/": "" };
    const escapes = [
      { ...dump, "workspace/../../x": "out" },
      { ...dump, [`workspace/out -> ${folder}`]: "", "workspace/out/x": "out" },
      { ...dump, "/etc/x": "out" },
    ];
    for (const entries of escapes) {
      await expect(restore(paths, await craft(entries))).rejects.toThrow("the archive is not a sound backup");
    }
    expect(existsSync(join(folder, "x"))).toBe(false);
  });

  it("(e) has one default workspace: ~/leoflow", async () => {
    const { paths, userHome } = newHome();
    const anywhere = await craft(
      { "datastore.sql": "", "workspace/": "", "workspace/dag.py": "# here\n" },
      { home: "/srv/leoflow-home", workspace: "/dev/null/dags" },
    );
    const { notes } = await restore(paths, anywhere);
    expect(readFileSync(join(userHome, "leoflow/dag.py"), "utf8")).toBe("# here\n");
    expect(notes).toEqual([
      `/dev/null/dags cannot be written on this machine; the workspace goes to ${userHome}/leoflow`,
    ]);
  });

  it("(f) keeps modes, times, links and empty folders", async () => {
    const { paths, userHome } = restored;
    const workspace = join(userHome, "leoflow");
    expect(tree(workspace)).toEqual(tree(source.workspace));
    expect(statSync(join(workspace, "project/bin/load.sh")).mode & 0o777).toBe(0o755);
    expect(statSync(join(workspace, "project/dag.py")).mtimeMs).toBe(1_700_000_000_500);
    expect(readlinkSync(join(workspace, "project/latest.py"))).toBe("dag.py");
    expect(readdirSync(join(workspace, "empty"))).toEqual([]);
    expect(statSync(join(workspace, "empty")).mode & 0o777).toBe(0o750);
    for (const each of ["", "project", "empty"]) {
      const [here, there] = [statSync(join(workspace, each)).mtimeMs, statSync(join(source.workspace, each)).mtimeMs];
      expect(Math.abs(here - there)).toBeLessThan(1);
    }
    expect(statSync(paths.config).mode & 0o777).toBe(0o600);
  });

  it("(g) rewrites paths of the other home, in settings, rows and versions, and nothing else", async () => {
    const { paths, userHome } = restored;
    const there = readFileSync(source.paths.config, "utf8");
    expect(readFileSync(paths.config, "utf8")).toBe(there.replaceAll(source.userHome, userHome));
    expect(there).toContain(`parser_cmd: ${source.userHome}/.leoflow/python`);
    const { rows } = await onDatabase(paths, (client) => client.query("select fileloc from dag"));
    expect(rows).toEqual([{ fileloc: join(userHome, "leoflow/project/dag.py") }]);
    const [digest = ""] = readdirSync(paths.versions);
    expect(readlinkSync(join(paths.versions, digest, "project/bin"))).toBe(join(userHome, "leoflow/project/bin"));
  });

  it("(h) puts nothing into the shared temporary folder", async () => {
    const { paths } = newHome();
    const temporary = join(folder, "tmp");
    mkdirSync(temporary);
    vi.stubEnv("TMPDIR", temporary);
    onTestFinished(() => void vi.unstubAllEnvs());
    const modes: number[] = [];
    await restore(paths, archive, {
      onStep: () => {
        expect(readdirSync(temporary)).toEqual([]);
        for (const name of readdirSync(paths.home).filter((each) => each.startsWith("restore-"))) {
          modes.push(statSync(join(paths.home, name)).mode & 0o777);
          expect(readdirSync(join(paths.home, name))).not.toContain("datastore.sql");
        }
      },
    });
    expect(new Set(modes)).toEqual(new Set([0o700]));
  });
});

describe("a restore", () => {
  it("is refused while Leoflow runs", async () => {
    const { paths } = newHome();
    const held = await acquireHomeLock(paths.lock);
    if (!("lock" in held)) throw new Error("held");
    await expect(restore(paths, archive)).rejects.toThrow(
      `Leoflow Lite runs on ${paths.home} (process ${process.pid})`,
    );
    held.lock.release();
  });

  it("changes nothing when it is dry", async () => {
    const dry = await restore(target.paths, archive, { force: true, dryRun: true });
    expect([dry.restored, dry.replaces]).toEqual([false, { rows: true, files: true }]);
    expect(await stateOf(target.paths, target.workspace)).toEqual(before);
    await expect(restore(target.paths, archive, { dryRun: true })).rejects.toThrow("refusing: restore would overwrite");
  });

  it("keeps what no backup holds: histories, environments, backups, PostgreSQL's settings", async () => {
    const { paths, workspace } = await makeInstallation(newHome().paths, "other");
    const settings = join(paths.managedPostgres, "data/postgresql.conf");
    appendFileSync(settings, "work_mem = '9MB'\n");
    for (const name of [".git", "project/.git", "only-other/deep/.git", ".venv", "project/__pycache__"]) {
      mkdirSync(join(workspace, name), { recursive: true });
      writeFileSync(join(workspace, name, "HEAD"), name);
    }
    const inside = join(workspace, "only-other/snap.tar.gz");
    cpSync(archive, inside);
    await restore(paths, inside, { force: true });
    expect(readFileSync(settings, "utf8")).toContain("work_mem = '9MB'");
    const kept = [".git", "project/.git", "only-other/deep/.git", ".venv"].map((name) => join(workspace, name, "HEAD"));
    for (const file of kept) expect(existsSync(file), file).toBe(true);
    expect(existsSync(inside)).toBe(true);
    expect(existsSync(join(workspace, "project/__pycache__"))).toBe(false);
    expect(readdirSync(join(workspace, "only-other"))).toEqual(["deep", "snap.tar.gz"]);
    expect(readFileSync(join(workspace, "project/dag.py"), "utf8")).toBe("# source\n");
  });

  it("leaves the workspace alone where the archive has none", async () => {
    const { paths, userHome } = newHome();
    const snapshot = join(folder, "no-workspace.tar.gz");
    await backUp(source, snapshot, { workspace: false });
    mkdirSync(join(userHome, "leoflow"));
    writeFileSync(join(userHome, "leoflow/dag.py"), "# mine\n");
    const { workspace } = await restore(paths, snapshot);
    expect(workspace).toBeUndefined();
    expect(tree(join(userHome, "leoflow"))).toHaveLength(2);
    expect(readFileSync(paths.config, "utf8")).toContain("source@example.com");
  });

  it("goes where it is told, through a link, with names that are no UTF-8", async () => {
    const { paths } = newHome();
    const real = join(folder, "real-workspace");
    mkdirSync(real);
    writeFileSync(Buffer.concat([Buffer.from(`${real}/`), Buffer.of(0xff, 0x61)]), "odd");
    symlinkSync(real, join(folder, "link"));
    await restore(paths, archive, { workspace: join(folder, "link"), force: true });
    expect(lstatSync(join(folder, "link")).isSymbolicLink()).toBe(true);
    expect(tree(real)).toEqual(tree(source.workspace));
    expect(readFileSync(paths.config, "utf8")).toContain(`workspace: ${folder}/link # mine`);
  });

  it("never empties a folder that only the archive names, nor one that holds a home", async () => {
    const { paths, userHome } = newHome();
    const documents = join(folder, "documents");
    mkdirSync(documents);
    writeFileSync(join(documents, "letter.txt"), "mine");
    const entries = { "datastore.sql": "", "workspace/": "" };
    await expect(restore(paths, await craft(entries, { workspace: documents }), { force: true })).rejects.toThrow(
      `refusing: ${documents} is not empty and is not this installation's workspace`,
    );
    await expect(restore(paths, await craft(entries, { workspace: userHome }), { force: true })).rejects.toThrow(
      `refusing: the workspace ${userHome} is, or holds, ${paths.home}`,
    );
    expect(readFileSync(join(documents, "letter.txt"), "utf8")).toBe("mine");
  });

  it("tells a config.yaml that cannot be read before anything is exchanged", async () => {
    const { paths } = newHome();
    const broken = await craft({ "config.yaml": "workspace: 'a' b\n", "datastore.sql": "" });
    await expect(restore(paths, broken)).rejects.toThrow(/config\.yaml, line 1, column 16/);
    expect(existsSync(paths.config)).toBe(false);
  });

  it("can be called off", async () => {
    for (const at of ["database made", "checked", "files exchanged"]) {
      const calledOff = new AbortController();
      const stopped = restore(target.paths, archive, {
        force: true,
        snapshot: false,
        signal: calledOff.signal,
        onStep: (name) => {
          if (name === at) calledOff.abort(new Error(`called off at ${at}`));
        },
      });
      await expect(stopped).rejects.toThrow(`called off at ${at}`);
      expect(await stateOf(target.paths, target.workspace), at).toEqual(before);
    }
    // Once it has happened it is not called off any more.
    const late = new AbortController();
    const { paths, userHome } = newHome();
    await restore(paths, archive, {
      signal: late.signal,
      onStep: (name) => {
        if (name === "committed") late.abort(new Error("too late"));
      },
    });
    expect(readFileSync(join(userHome, "leoflow/project/dag.py"), "utf8")).toBe("# source\n");
  });
});
