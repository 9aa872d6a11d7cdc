import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { createHome } from "../../../test/support/home.ts";
import {
  backUp,
  datastoreOptions,
  makeInstallation,
  stateOf,
  tree,
  type Installation,
} from "../../../test/support/installation.ts";
import { UserError } from "../../kit/user-error.ts";
import { startingPostgres, withDatastore, withHomeToItself } from "../datastore.ts";
import { silentProgress } from "../progress.ts";
import { restoreInstallation, type RestoreOptions } from "./restore.ts";

// What people restore a backup for, and what else goes wrong on such a day: the database is damaged, the clock is wrong, the
// server dies, the archive changes, the workspace is elsewhere. Nothing that is there may be lost.

let folder: string;
let archive: string;
let source: Installation;
/** Each test leaves it as it was. */
let target: Installation;
let before: Awaited<ReturnType<typeof stateOf>>;
let data: string;
const removals: (() => void)[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-restore-"));
  const homes = [createHome(), createHome()] as const;
  removals.push(...homes.map((home) => home.remove));
  source = await makeInstallation(homes[0].paths, "source");
  archive = join(folder, "source.tar.gz");
  await backUp(source, archive);
  target = await makeInstallation(homes[1].paths, "target");
  data = join(target.paths.managedPostgres, "data");
  before = await stateOf(target.paths, target.workspace);
  await backUp(target, join(folder, "target.tar.gz"));
});
afterAll(() => {
  for (const remove of removals) remove();
  rmSync(folder, { recursive: true, force: true });
});

function restore(options: Partial<RestoreOptions> = {}) {
  const { paths, userHome } = target;
  return restoreInstallation({
    ...datastoreOptions(paths),
    progress: silentProgress,
    archive,
    environment: { userHome, workspace: undefined },
    force: true,
    dryRun: false,
    snapshot: false,
    say: () => undefined,
    ...options,
  });
}

const nothing = () => Promise.resolve();
const state = () => stateOf(target.paths, target.workspace);

async function failure(work: Promise<unknown>): Promise<UserError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(UserError);
  return error as UserError;
}

it.each([
  [
    "has lost its PG_VERSION",
    "PG_VERSION",
    (file: string) => rmSync(file),
    /data holds files but no database that PostgreSQL can read: PG_VERSION is missing$/,
  ],
  [
    "does not start",
    "global/pg_control",
    (file: string) => truncateSync(file, 0),
    /^PostgreSQL did not start.*pg_control/s,
  ],
])("a database that %s is left as it is; moved away, the backup takes its place", async (_how, name, damage, says) => {
  const good = join(target.paths.managedPostgres, "good");
  cpSync(data, good, { recursive: true });
  damage(join(data, name));
  const names = readdirSync(data);
  const refused = await failure(restore());
  expect(refused.message).toMatch(says);
  expect(refused.fix).toContain(`mv ${data} ${data}.damaged`);
  // Nor does anything else take its folder for room.
  const options = datastoreOptions(target.paths);
  expect((await failure(startingPostgres(options, nothing))).message).toMatch(says);
  expect((await failure(withDatastore(options, "back up", nothing))).message).toMatch(says);
  expect(readdirSync(data)).toEqual(expect.arrayContaining(names));
  expect(existsSync(target.paths.restoreJournal)).toBe(false);
  expect(tree(target.workspace)).toEqual(before["workspace"]);

  renameSync(data, `${data}.damaged`);
  const { snapshot = "" } = await restore({ snapshot: true });
  expect(tree(target.workspace)).toEqual(tree(source.workspace));
  expect(readdirSync(`${data}.damaged`)).toEqual(expect.arrayContaining(names));
  // As it was, for the next test: the files from what was saved, the database from its copy.
  await restore({ archive: snapshot });
  for (const each of [data, `${data}.damaged`]) rmSync(each, { recursive: true });
  renameSync(good, data);
  expect(await state()).toEqual(before);
});

it("a PostgreSQL that is killed in the middle", async () => {
  for (const at of ["database made", "checked", "about to commit"]) {
    const killed = restore({
      onStep: (name) => {
        if (name !== at) return;
        const [pid = ""] = readFileSync(join(data, "postmaster.pid"), "utf8").split("\n");
        process.kill(Number(pid), "SIGKILL");
      },
    });
    // It may be up again before it is missed.
    const happened = await killed.then(
      () => true,
      () => false,
    );
    if (!happened) expect(await state(), at).toEqual(before);
    else {
      expect(tree(target.workspace), at).toEqual(tree(source.workspace));
      await bringBack();
    }
  }
});

/** The target as the other tests want it. */
async function bringBack(): Promise<void> {
  await restore({ archive: join(folder, "target.tar.gz") });
}

it("an archive that changes once it was verified", async () => {
  const changing = join(folder, "changing.tar.gz");
  copyFileSync(archive, changing);
  const error = await failure(
    restore({
      archive: changing,
      onStep: (name) => {
        if (name === "database made") truncateSync(changing, Math.floor(statSync(changing).size / 2));
      },
    }),
  );
  expect(error.message).toMatch(/^(the archive is damaged|the datastore cannot be restored)/);
  expect(await state()).toEqual(before);
});

it("a clock that was ahead: what is saved now is not taken for the oldest", async () => {
  const { snapshots } = target.paths;
  rmSync(snapshots, { recursive: true, force: true });
  mkdirSync(snapshots, { recursive: true });
  const ahead = [1, 2, 3, 4].map((day) => `2199-01-0${day}T120000Z-before-restore.tar.gz`);
  for (const name of ahead) writeFileSync(join(snapshots, name), "");
  const { snapshot = "" } = await restore({ snapshot: true });
  expect(readdirSync(snapshots).map((name) => join(snapshots, name))).toEqual([
    snapshot,
    ...ahead.slice(2).map((name) => join(snapshots, name)),
  ]);
  await restore({ archive: snapshot });
  expect(await state()).toEqual(before);
});

it("a workspace that is no folder", async () => {
  const file = join(folder, "file");
  writeFileSync(file, "mine");
  for (const workspace of [file, join(file, "below")]) {
    const { message } = await failure(restore({ workspace }));
    expect(message).toBe(`refusing: the workspace ${workspace} is no folder that you can write into`);
  }
  expect(readFileSync(file, "utf8")).toBe("mine");
});

it("a workspace on another disk", async () => {
  // In memory on every Linux.
  const disk = mkdtempSync("/dev/shm/leoflow-restore-");
  onTestFinished(() => rmSync(disk, { recursive: true, force: true }));
  expect(statSync(disk).dev).not.toBe(statSync(target.paths.home).dev);
  const workspace = join(disk, "dags");
  const called = new AbortController();
  const calledOff = restore({
    workspace,
    signal: called.signal,
    onStep: (name) => {
      if (name === "files exchanged") called.abort(new Error("called off"));
    },
  });
  await expect(calledOff).rejects.toThrow("called off");
  expect(readdirSync(disk)).toEqual([]);
  expect(await state()).toEqual(before);

  await restore({ workspace });
  expect(tree(workspace)).toEqual(tree(source.workspace));
  await bringBack();
});

it("a look while Leoflow runs, or where nothing is, changes nothing", async () => {
  const options = datastoreOptions(target.paths);
  await withHomeToItself(target.paths, () =>
    startingPostgres(options, async () => {
      const { restored, replaces } = await restore({ dryRun: true });
      expect([restored, replaces]).toEqual([false, { rows: true, files: true }]);
      await expect(restore({ dryRun: true, force: false })).rejects.toThrow("refusing: restore would overwrite");
      await expect(restore()).rejects.toThrow("Leoflow Lite runs on");
    }),
  );
  expect(await state()).toEqual(before);

  const { paths, remove } = createHome();
  onTestFinished(remove);
  const nowhere = { ...paths, home: join(dirname(paths.home), "none/.leoflow") };
  const look = { ...datastoreOptions(nowhere), dryRun: true, environment: { userHome: folder, workspace: undefined } };
  expect(await restore(look)).toMatchObject({ restored: false, replaces: { rows: false, files: false } });
  expect(readdirSync(dirname(paths.home))).toEqual([".leoflow"]);
});
