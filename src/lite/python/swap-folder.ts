import { renameSync, rmSync } from "node:fs";
import { isThere } from "../restore/durable-files.ts";

/**
 * A folder is replaced by one that was made beside it: FOLDER.new takes its place, and what was there becomes FOLDER.old.
 * Two renames; `recoverSwap` finishes what was cut short between them.
 */
export function swapIn(folder: string): void {
  rmSync(oldOf(folder), { recursive: true, force: true });
  if (isThere(folder)) renameSync(folder, oldOf(folder));
  renameSync(newOf(folder), folder);
}

/** Afterwards `folder` is there if it ever was. `isWhole` tells a finished FOLDER.new from one whose making ended early. */
export function recoverSwap(folder: string, isWhole: (fresh: string) => boolean): void {
  if (isThere(folder)) return;
  if (isThere(newOf(folder)) && isWhole(newOf(folder))) renameSync(newOf(folder), folder);
  else if (isThere(oldOf(folder))) renameSync(oldOf(folder), folder);
}

export const newOf = (folder: string): string => `${folder}.new`;
export const oldOf = (folder: string): string => `${folder}.old`;
