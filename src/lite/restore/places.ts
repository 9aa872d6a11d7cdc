import { copyFileSync, lstatSync, readlinkSync, renameSync, statSync, symlinkSync, utimesSync } from "node:fs";
import { dirname } from "node:path";
import { nameToBytes } from "../../kit/tar/entry-name.ts";
import { isThere, move, removeAtOnce, syncFolder } from "./durable-files.ts";

/**
 * One file system's part of a restore. `staging` holds what comes in and what goes out; once it is gone, this part is settled.
 * Each exchange can be told apart from one not made by looking which names are there, so undoing can itself be cut short and
 * begun again. Undoing needs no space on the disk.
 */
export interface Place {
  staging: string;
  /** In this order. */
  moves: Move[];
  /** Files that are there at every moment, as the old one or as the new. */
  files: Replacement[];
}

/** Nothing has the name `to` before. Names keep odd bytes as entry-name.ts says. */
export interface Move {
  from: string;
  to: string;
}

export interface Replacement {
  fresh: string;
  target: string;
  /** A copy of what `target` was; null where nothing was. */
  aside: string | null;
}

/** Copies what will be replaced. The copy is whole once it has its name. */
export function keepAside({ target, aside }: Replacement): void {
  if (aside === null) return;
  const unfinished = `${aside}.new`;
  if (lstatSync(target).isSymbolicLink()) symlinkSync(readlinkSync(target), unfinished);
  else {
    copyFileSync(target, unfinished);
    const { atimeMs, mtimeMs } = statSync(target);
    utimesSync(unfinished, atimeMs / 1000, mtimeMs / 1000);
  }
  renameSync(unfinished, aside);
}

/** Exchanges everything. `before` is called before each step. */
export async function exchange(place: Place, before: () => Promise<void> | void): Promise<void> {
  for (const { from, to } of place.moves) {
    await before();
    move(nameToBytes(from), nameToBytes(to));
  }
  for (const { fresh, target } of place.files) {
    await before();
    renameSync(fresh, target);
  }
  syncFolders(place);
}

/** Puts everything back that was exchanged, whatever part of it that is. */
export function putBack(place: Place): void {
  if (!isThere(place.staging)) return;
  for (const { fresh, target, aside } of [...place.files].reverse()) {
    if (aside !== null) {
      if (isThere(aside)) renameSync(aside, target);
    } else if (!isThere(fresh) && isThere(target)) renameSync(target, fresh);
  }
  for (const { from, to } of [...place.moves].reverse()) {
    const [there, here] = [nameToBytes(from), nameToBytes(to)];
    if (!isThere(there) && isThere(here)) move(here, there);
  }
  syncFolders(place);
}

/** Removes what was staged and what was put aside. */
export function discard(place: Place): void {
  removeAtOnce(place.staging);
}

function syncFolders(place: Place): void {
  const paths = [
    ...place.moves.flatMap(({ from, to }) => [from, to]),
    ...place.files.flatMap(({ fresh, target }) => [fresh, target]),
  ];
  const folders = new Set(paths.map((path) => dirname(path)));
  for (const folder of folders) if (isThere(nameToBytes(folder))) syncFolder(nameToBytes(folder));
}
