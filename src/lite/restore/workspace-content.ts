import { lstatSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isBackupName } from "../../backup/backup-name.ts";
import { nameFromBytes, nameToBytes } from "../../kit/tar/entry-name.ts";
import { isThere } from "./durable-files.ts";
import type { Move } from "./places.ts";

/** What no backup holds, so that no restore may take it away: histories, environments and backups themselves. */
const KEPT = new Set([".git", ".hg", ".svn", ".venv", "venv", "node_modules"]);
/** Of these, what nobody could make again: its folder is made for it where the backup has none. */
const PRECIOUS = new Set([".git", ".hg", ".svn"]);
const CACHES = new Set(["__pycache__", ".pytest_cache", ".tox", ".mypy_cache", ".ruff_cache", ".DS_Store"]);

/** Whether a workspace holds anything that a restore would replace. The untouched starter project is nobody's work. */
export function holdsUserFiles(workspace: string, starter: string): boolean {
  const look = (folder: string): boolean =>
    entriesOf(join(workspace, folder)).some((entry) => {
      const name = join(folder, entry.name);
      if (isKept(entry.name) || CACHES.has(entry.name)) return false;
      if (entry.isFolder) return look(name) || !isThere(join(starter, name));
      return !entry.isFile || !sameContent(join(workspace, name), join(starter, name));
    });
  return look("");
}

/**
 * The exchange of a workspace's content: `fresh` comes in, what is there goes to `aside`. What no backup holds stays: at the
 * top where it is, below it moves over first. Makes in `fresh` the folders that histories need.
 */
export async function exchangeContent(
  workspace: string,
  places: { staging: string; fresh: string; aside: string; archive: string },
): Promise<Move[]> {
  const { staging, fresh, aside, archive } = places;
  const moves: Move[] = [];
  const archiveThere = isThere(archive) ? realpathSync(archive) : archive;
  const isKeptAt = (path: string, name: string) => isKept(name) || realParent(path, name) === archiveThere;
  const collect = async (folder: string): Promise<void> => {
    for (const entry of entriesOf(join(workspace, folder))) {
      const name = join(folder, entry.name);
      if (join(workspace, name) === staging) continue;
      if (isKeptAt(join(workspace, name), entry.name)) {
        const to = join(fresh, name);
        const isPrecious = PRECIOUS.has(entry.name) || !KEPT.has(entry.name);
        if (folder === "" || isThere(nameToBytes(to)) || !(await makeParent(dirname(name), fresh, isPrecious)))
          continue;
        moves.push({ from: join(workspace, name), to });
      } else if (entry.isFolder && !CACHES.has(entry.name)) await collect(name);
    }
  };
  await collect("");
  const incoming = new Set(entriesOf(fresh).map(({ name }) => name));
  for (const { name } of entriesOf(workspace)) {
    if (join(workspace, name) === staging) continue;
    if (isKeptAt(join(workspace, name), name) && !incoming.has(name)) continue;
    moves.push({ from: join(workspace, name), to: join(aside, name) });
  }
  for (const name of incoming) moves.push({ from: join(fresh, name), to: join(workspace, name) });
  return moves;
}

/** Whether something may be moved into this folder of the fresh tree. */
async function makeParent(folder: string, fresh: string, make: boolean): Promise<boolean> {
  const path = nameToBytes(join(fresh, folder));
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found) return found.isDirectory();
  if (!make || (folder !== "." && !(await makeParent(dirname(folder), fresh, make)))) return false;
  await mkdir(path);
  return true;
}

function isKept(name: string): boolean {
  return KEPT.has(name) || isBackupName(name);
}

function realParent(path: string, name: string): string {
  return join(realpathSync(nameToBytes(dirname(path))), name);
}

interface Entry {
  /** As text that keeps odd bytes, see entry-name.ts. */
  name: string;
  isFile: boolean;
  isFolder: boolean;
}

/** Nothing where there is no such folder. */
function entriesOf(folder: string): Entry[] {
  let names: Buffer[];
  try {
    names = readdirSync(nameToBytes(folder), { encoding: "buffer" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return names.map((bytes) => {
    const name = nameFromBytes(bytes);
    const found = lstatSync(nameToBytes(join(folder, name)));
    return { name, isFile: found.isFile(), isFolder: found.isDirectory() };
  });
}

function sameContent(file: string, other: string): boolean {
  try {
    return readFileSync(nameToBytes(file)).equals(readFileSync(nameToBytes(other)));
  } catch {
    return false;
  }
}
