import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";

/** Whether something has this name; a link that leads nowhere is something. */
export function isThere(path: string | Buffer): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Whole or not at all, also after a power cut; readable for this user alone. */
export function writeDurably(file: string, text: string | Buffer): void {
  const fresh = `${file}.new`;
  writeFileSync(fresh, text, { mode: 0o600, flush: true });
  renameSync(fresh, file);
  syncFolder(dirname(file));
}

/** Makes what was renamed, made or removed in a folder outlast a power cut. */
export function syncFolder(folder: string | Buffer): void {
  const handle = openSync(folder, "r");
  try {
    fsyncSync(handle);
  } catch (error) {
    // Some file systems cannot, and keep names in order by themselves.
    if (!["EINVAL", "ENOTSUP", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  } finally {
    closeSync(handle);
  }
}

/** The folders that `mkdir -p` would make, outermost first. */
export function missingFolders(folder: string): string[] {
  const missing: string[] = [];
  for (let each = folder; !existsSync(each) && each !== dirname(each); each = dirname(each)) missing.unshift(each);
  return missing;
}

/** Makes a folder and those around it. */
export function makeFolders(folders: readonly string[]): void {
  for (const folder of folders) mkdirSync(folder, { recursive: true });
}

/** Takes folders away again that hold nothing, innermost first. */
export function removeEmptyFolders(folders: readonly string[]): void {
  for (const folder of [...folders].reverse()) {
    try {
      rmdirSync(folder);
    } catch {
      // in use, or gone
    }
  }
}

/**
 * Removes a folder whose being there means something: its name goes at once and whole, then what was in it. What an earlier
 * try left of it goes too.
 */
export function removeAtOnce(folder: string): void {
  const trash = `${folder}.trash`;
  if (isThere(folder)) {
    removeTree(trash);
    renameSync(folder, trash);
  }
  removeTree(trash);
}

/** A folder that its owner may not write to is in the way of removing what is in it. */
function removeTree(folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true });
  } catch (error) {
    if (!isDenied(error)) throw error;
    const unlock = (path: Buffer) => {
      chmodSync(path, 0o700);
      for (const name of readdirSync(path, { encoding: "buffer" })) {
        const below = Buffer.concat([path, Buffer.from("/"), name]);
        if (lstatSync(below).isDirectory()) unlock(below);
      }
    };
    unlock(Buffer.from(folder));
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Renames; a folder that its owner may not write to can be renamed in its place, but not be moved to another. */
export function move(from: Buffer, to: Buffer): void {
  try {
    renameSync(from, to);
  } catch (error) {
    const found = lstatSync(from, { throwIfNoEntry: false });
    if (!isDenied(error) || !found?.isDirectory()) throw error;
    chmodSync(from, 0o700);
    try {
      renameSync(from, to);
    } finally {
      chmodSync(isThere(to) ? to : from, found.mode & 0o7777);
    }
  }
}

function isDenied(error: unknown): boolean {
  return ["EACCES", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "");
}
