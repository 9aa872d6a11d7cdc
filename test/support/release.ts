import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { runCommand } from "../../src/lite/command.ts";
import { acquireHomeLock } from "../../src/lite/home-lock.ts";
import { pause } from "../../src/lite/postgres/stale-server.ts";
import { loadMigrations } from "../../src/store/migrations.ts";

export const HOST_PLATFORM = `${process.platform}-${process.arch}`;

const root = join(import.meta.dirname, "../..");
const kept = join(root, ".cache/releases");
const HOUR_MS = 3_600_000;

/** All that a release is made of, and the tool that makes it. */
const INPUTS = [
  ...["LICENSE", "bin", "build.mjs", "examples/starter", "install.sh", "migrations", "sdk/typescript"],
  ...["package-lock.json", "package.json", "python", "release", "src", "web"],
];

/** What `npm run release` wrote for this machine's platform. Shared between tests: to be read only. */
export interface BuiltRelease {
  /** Holds `latest`, `install.sh` and `v<version>/`: what LEOFLOW_BASE_URL may name. */
  out: string;
  version: string;
  /** Path of the tar.gz. */
  archive: string;
}

/** The release of this tree. Built once per content of the tree, however many tests ask at once. */
export function builtRelease(): Promise<BuiltRelease> {
  return releaseOf(root);
}

export interface NextReleaseOptions {
  /** Its version; else this tree's with a higher minor. */
  version?: string;
  /** Of the migration it adds. */
  name?: string;
  /** Further changes, in the copy of the tree. */
  edit?: (tree: string) => void;
}

/** A release N+1: this tree with a later version and one more migration, which makes the table `upgrade_proof`. */
export async function nextRelease(options: NextReleaseOptions = {}): Promise<BuiltRelease> {
  const tree = mkdtempSync(join(tmpdir(), "leoflow-next-tree-"));
  try {
    copyTree(tree);
    raiseVersion(tree, options.version);
    const number = String((loadMigrations().at(-1)?.version ?? 0) + 1).padStart(4, "0");
    writeFileSync(
      join(tree, `migrations/${number}_${options.name ?? "upgrade_proof"}.sql`),
      "-- What only the next release has.\n" +
        "create table upgrade_proof (id integer primary key, note text not null);\n" +
        "insert into upgrade_proof (id, note) select n, 'row ' || n from generate_series(1, 100) n;\n",
    );
    options.edit?.(tree);
    return await releaseOf(tree);
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

/** A copy of this tree in which a release can be built. */
export function copyTree(tree: string): void {
  for (const name of INPUTS.filter((each) => existsSync(join(root, each)))) {
    cpSync(join(root, name), join(tree, name), { recursive: true, filter: (path) => isInput(path) });
  }
  symlinkSync(join(root, "node_modules"), join(tree, "node_modules"));
}

function raiseVersion(tree: string, version: string | undefined): void {
  const file = join(tree, "package.json");
  const manifest = JSON.parse(readFileSync(file, "utf8")) as { version: string };
  const [major, minor] = manifest.version.split(".").map(Number);
  manifest.version = version ?? `${major}.${(minor ?? 0) + 1}.0`;
  writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`);
}

/** Several releases in one folder as a download server has them; `latest` is the last. */
export async function releasesFolder(...releases: BuiltRelease[]): Promise<string> {
  const key = createHash("sha256").update(releases.map(({ out }) => out).join("\n"));
  return keptFolder(`set-${key.digest("hex").slice(0, 16)}`, async (folder) => {
    for (const { out, version } of releases) {
      cpSync(join(out, `v${version}`), join(folder, `v${version}`), { recursive: true });
      for (const name of ["latest", "install.sh", "leoflow.rb"].filter((each) => existsSync(join(out, each)))) {
        cpSync(join(out, name), join(folder, name));
      }
    }
  });
}

async function releaseOf(tree: string): Promise<BuiltRelease> {
  const out = await keptFolder(hashOf(tree), async (folder) => {
    await runRelease(tree, ["--platform", HOST_PLATFORM, "--out", folder]);
  });
  const version = readFileSync(join(out, "latest"), "utf8").trim();
  const archive = `leoflow_${version}_${HOST_PLATFORM.replace("-", "_")}.tar.gz`;
  return { out, version, archive: join(out, `v${version}`, archive) };
}

/** `npm run release` in a tree. Downloads are kept where this tree's are. */
export async function runRelease(tree: string, args: string[]): Promise<string> {
  const cache = join(root, ".cache/release");
  const result = await runCommand([process.execPath, join(tree, "release/main.mjs"), "--cache", cache, ...args]);
  if (result.code !== 0) throw new Error(`no release of ${tree}: ${result.output}`);
  return result.stdout;
}

const asked = new Map<string, Promise<string>>();

/** A folder that is made once, whole, under .cache/; those that nobody asked for within an hour go. */
function keptFolder(name: string, make: (folder: string) => Promise<void>): Promise<string> {
  const making = asked.get(name) ?? makeKept(name, make);
  asked.set(name, making);
  return making;
}

async function makeKept(name: string, make: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(kept, name);
  let held = await acquireHomeLock(join(kept, `${name}.lock`));
  while ("heldBy" in held) {
    await pause(100);
    held = await acquireHomeLock(join(kept, `${name}.lock`));
  }
  try {
    if (!existsSync(folder)) {
      removeUnused();
      const fresh = `${folder}.new`;
      rmSync(fresh, { recursive: true, force: true });
      mkdirSync(fresh);
      await make(fresh);
      renameSync(fresh, folder);
    }
    utimesSync(folder, new Date(), new Date());
  } finally {
    held.lock.release();
  }
  return folder;
}

function removeUnused(): void {
  for (const name of readdirSync(kept)) {
    const path = join(kept, name);
    const modified = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
    if (modified !== undefined && Date.now() - modified > HOUR_MS) rmSync(path, { recursive: true, force: true });
  }
}

function hashOf(tree: string): string {
  const hash = createHash("sha256");
  const visit = (path: string): void => {
    if (!existsSync(path) || !isInput(path)) return;
    if (statSync(path).isDirectory()) {
      for (const name of readdirSync(path).sort()) visit(join(path, name));
      return;
    }
    const content = readFileSync(path);
    hash.update(`${relative(tree, path)}\0${content.length}\0`).update(content);
  };
  for (const name of INPUTS) visit(join(tree, name));
  return hash.digest("hex").slice(0, 16);
}

function isInput(path: string): boolean {
  return !/__pycache__|\.pyc$|\.test\.ts$|\.jsonl$|\.lock\.\d+$/.test(path);
}
