import { existsSync, statfsSync } from "node:fs";
import { dirname } from "node:path";

/** Free for this user, where a folder is or will be. */
export function freeBytesOf(folder: string): number {
  let existing = folder;
  while (!existsSync(existing) && existing !== dirname(existing)) existing = dirname(existing);
  const stats = statfsSync(existing);
  return stats.bavail * stats.bsize;
}
