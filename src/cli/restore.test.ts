import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { craftArchive } from "../../test/support/craft-archive.ts";
import { createHome } from "../../test/support/home.ts";
import { backUp, makeInstallation, stateOf, type Installation } from "../../test/support/installation.ts";
import { encryptFile } from "../backup/encryption.ts";
import { resolvePaths } from "../lite/paths.ts";
import { canMount, OWN_MOUNTS } from "../../test/support/mounts.ts";
import { bundleProgram, type BundledProgram } from "../../test/support/run-typescript.ts";
import { until } from "../../test/support/until.ts";

// The command as a user runs it: the whole program, its lines and its exit code.

let program: BundledProgram;
let folder: string;
let source: Installation;
let archive: string;
const removals: (() => void)[] = [];

beforeAll(async () => {
  program = await bundleProgram(join(import.meta.dirname, "../main.ts"));
  folder = mkdtempSync(join(tmpdir(), "leoflow-restore-"));
  const home = createHome();
  removals.push(home.remove);
  source = await makeInstallation(home.paths, "source");
  archive = join(folder, "source.tar.gz");
  await backUp(source, archive);
});
afterAll(() => {
  program.killAll();
  program.remove();
  for (const remove of removals) remove();
  rmSync(folder, { recursive: true, force: true });
});

/** Starts `leoflow lite restore` for a user whose home is above `home`. */
const restore = (home: string, args: string[], wrapper: string[] = []) =>
  program.run(["lite", "restore", ...args], [...wrapper, "env", `HOME=${dirname(home)}`, `LEOFLOW_HOME=${home}`]);

function newHome() {
  const home = createHome();
  onTestFinished(home.remove);
  return { ...home.paths, userHome: dirname(home.paths.home) };
}

it("R1: needs --input", async () => {
  const { code, errors } = await restore(source.paths.home, []).ended;
  expect(code).toBe(2);
  expect(errors).toContain("error: required option '-i, --input <file>' not specified");
});

it("R8: says what it does", async () => {
  const { home, userHome } = newHome();
  const { code, output } = await restore(home, ["-i", archive]).ended;
  expect(code).toBe(0);
  // Steps tell their times.
  const lines = output.split("\n").filter((line) => !line.startsWith("  ✓ ") && !line.endsWith(" ..."));
  expect(lines).toEqual([
    `▸ reading manifest from ${archive}`,
    expect.stringMatching(/^ {2}archive: leoflow=\S+ schema=\d+ created=\S+Z$/),
    "▸ replaying datastore via psql …",
    "✓ config.yaml restored",
    "✓ setup.json restored",
    `✓ workspace restored to ${userHome}/leoflow (3 files)`,
    "✓ datastore restored (1 DAG runs, 0 task instances)",
    "✓ restore complete — run `leoflow lite` to start.",
    "",
  ]);
  expect(readFileSync(join(home, "setup.json"), "utf8")).toBe('{"label": "source"}\n');
  const refused = await restore(home, ["-i", archive]).ended;
  expect([refused.code, refused.errors]).toEqual([
    1,
    "error: refusing: restore would overwrite an existing install at ~/.leoflow; pass --force to confirm, or move/back-up the existing install first\n" +
      "  fix: run the same command with --force: what is there is saved to an archive first\n",
  ]);
  const dry = await restore(home, ["-i", archive, "--force", "--dry-run", "--json"]).ended;
  expect(JSON.parse(dry.output)).toMatchObject({
    restored: false,
    manifest: { manifest_version: 1 },
    replaces: { rows: true, files: true },
  });
});

it("opens an encrypted backup with its passphrase, from the environment or a file, and with no other", async () => {
  const { home, userHome } = newHome();
  const encrypted = `${archive}.age`;
  await encryptFile(archive, encrypted, "right", {});
  const none = await restore(home, ["-i", encrypted]).ended;
  expect([none.code, none.errors]).toEqual([2, expect.stringMatching(/^error: no passphrase was given\n {2}fix: /)]);
  const passphrases = join(folder, "passphrase");
  writeFileSync(passphrases, "wrong\n");
  const wrong = await restore(home, ["-i", encrypted, "--passphrase-file", passphrases]).ended;
  expect([wrong.code, wrong.errors]).toEqual([
    1,
    "error: the passphrase does not open this backup\n  fix: run the same command again with the passphrase that the backup was made with\n",
  ]);
  expect(existsSync(join(userHome, "leoflow"))).toBe(false);
  const right = await restore(home, ["-i", encrypted], ["env", "LEOFLOW_BACKUP_PASSPHRASE=right"]).ended;
  expect([right.code, right.errors]).toEqual([0, ""]);
  expect(readFileSync(join(userHome, "leoflow/project/dag.py"), "utf8")).toBe("# source\n");
});

it("Ctrl-C in the middle of psql leaves all as it was", async () => {
  const { home, userHome } = newHome();
  const target = await makeInstallation(resolvePaths(home), "target");
  const before = await stateOf(target.paths, target.workspace);
  const slow = await craftArchive(join(folder, "slow.tar.gz"), {
    "config.yaml": "lite_port: 1\n",
    "datastore.sql": `${"-- filler\n".repeat(1000)}select pg_sleep(600);\n`,
    "workspace/": "",
    "workspace/dag.py": "# slow\n",
  });
  const { child, ended, output } = restore(home, ["-i", slow, "--force", "--workspace", join(userHome, "leoflow")]);
  await until("psql runs", () => output().includes("▸ replaying datastore"));
  child.kill("SIGINT");
  const { code } = await ended;
  expect(code).toBe(130);
  expect(output()).toContain("Called off; nothing was changed");
  expect(existsSync(target.paths.restoreJournal)).toBe(false);
  expect(await stateOf(target.paths, target.workspace)).toEqual(before);
});

it.runIf(canMount)("a disk that is too small, and one that becomes full, leave nothing behind", async () => {
  const disk = join(folder, "disk");
  mkdirSync(disk);
  // The disk is the program's own, so what is left on it is looked at from there.
  const onDisk = (megabytes: number) => [
    ...[...OWN_MOUNTS, "sh", "-c"],
    `mount -t tmpfs -o size=${megabytes}m none "$0" && mkdir -p "$0/user/.leoflow" && ` +
      `cp -a '${source.paths.managedPostgres}/'postgres-* '${source.paths.venv}' "$0/user/.leoflow/" && ` +
      `mkdir "$0/user/.leoflow/managed-postgres" && mv "$0/user/.leoflow/"postgres-* "$0/user/.leoflow/managed-postgres" && ` +
      `"$@"; code=$?; (cd "$0/user" && find . -mindepth 1 | sort >"$0.left"); exit $code`,
    disk,
  ];
  const home = join(disk, "user/.leoflow");
  const left = () => readFileSync(`${disk}.left`, "utf8");
  const tooSmall = await restore(home, ["-i", archive], onDisk(40)).ended;
  expect(tooSmall.code).toBe(1);
  expect(tooSmall.errors).toMatch(/^error: not enough space where \S+ is: a restore needs about [\d.]+ MB/);
  expect(left()).not.toMatch(/config\.yaml|restore|managed-postgres\/data|\.\/leoflow/);

  const growing = await craftArchive(join(folder, "growing.tar.gz"), {
    "config.yaml": "lite_port: 1\n",
    "datastore.sql": "create table a as select repeat('x', 1000) as x from generate_series(1, 1000000);\n",
    "workspace/": "",
    "workspace/dag.py": "# growing\n",
  });
  const full = await restore(home, ["-i", growing], onDisk(300)).ended;
  expect(full.code).toBe(1);
  expect(full.errors).toContain(
    "error: the disk became full while the datastore was restored; nothing was changed\n  fix: free some space",
  );
  expect(left()).not.toMatch(/config\.yaml|restore|managed-postgres\/data|\.\/leoflow/);
});
