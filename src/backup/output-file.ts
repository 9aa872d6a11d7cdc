import { accessSync, constants, lstatSync, statSync } from "node:fs";
import { link, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { UserError } from "../kit/user-error.ts";

/** Asked before the long work: whether a file can come to be under this name. */
export function checkOutput(file: string, overwrite: boolean): void {
  const folder = dirname(file);
  try {
    if (!statSync(folder).isDirectory()) throw new Error("it is not a folder");
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code === "ENOENT" ? "it does not exist" : code === "EACCES" ? "permission denied" : message;
    throw new UserError(`cannot write into ${folder}: ${reason}`, {
      fix: "name another place with `--output FILE`",
      cause: error,
    });
  }
  const existing = lstatSync(file, { throwIfNoEntry: false });
  if (existing && (!overwrite || existing.isDirectory())) throw existsError(file, existing.isDirectory());
}

/** Gives a complete file its name, at once and for good. */
export async function moveIntoPlace(from: string, to: string, overwrite: boolean): Promise<void> {
  if (overwrite) await rename(from, to);
  else {
    try {
      // Unlike rename() it fails where somebody was quicker.
      await link(from, to);
      await rm(from);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EEXIST") throw existsError(to, false);
      // A file system without hard links.
      if (!["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK", "EACCES"].includes(code ?? "")) throw error;
      await rename(from, to);
    }
  }
  const folder = await open(dirname(to), "r");
  await folder.sync().finally(() => folder.close());
}

/** What writing the archive met, as a user may see it. */
export function outputError(error: unknown, folder: string): unknown {
  if (error instanceof UserError) return error;
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new UserError(`the disk is full where ${folder} is; no backup was written`, {
      fix: "free some space, or write it to another disk with `--output FILE`",
      cause: error,
    });
  }
  return syscall ? new UserError(`cannot write the backup into ${folder}: ${message}`, { cause: error }) : error;
}

function existsError(file: string, isFolder: boolean): UserError {
  return isFolder
    ? new UserError(`${file} is a folder`, { fix: "name a file in it" })
    : new UserError(`${file} exists already`, { fix: "name another file, or write over this one with --force" });
}
