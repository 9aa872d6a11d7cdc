import { statfsSync } from "node:fs";
import { formatBytes } from "../kit/bytes.ts";
import { UserError } from "../kit/user-error.ts";

/** An archive of text is a fifth or less of it; where the files do not compress, writing meets the full disk. */
const LEAST_PART = 0.1;
const ALWAYS = 16 * 1024 * 1024;

/** Asked before the long work. Lets pass what may fit. */
export function checkBackupSpace(folder: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  const needed = Math.round(bytes * LEAST_PART) + ALWAYS;
  if (free >= needed) return;
  throw new UserError(
    `the disk is full: ${formatBytes(free)} are left where ${folder} is, and the backup needs ${formatBytes(needed)} or more`,
    { fix: "free some space, or write it to another disk with `--output FILE`" },
  );
}
