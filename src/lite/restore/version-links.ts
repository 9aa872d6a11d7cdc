import { readdirSync, readlinkSync, symlinkSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { isThere, syncFolder } from "./durable-files.ts";

/**
 * The folders of DAG versions link to the live workspace by its absolute path, each link to what has the same name there. They
 * follow the workspace to where it is now.
 */
export function relinkVersions(versions: string, workspace: string): number {
  if (!isThere(versions)) return 0;
  let changed = 0;
  const relink = (folder: string, name: string): void => {
    let touched = false;
    // Not `recursive`, which follows links to folders: into the live workspace.
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      const relPath = join(name, entry.name);
      if (entry.isDirectory()) relink(path, relPath);
      if (!entry.isSymbolicLink()) continue;
      const target = readlinkSync(path);
      if (!target.startsWith("/") || !target.endsWith(`/${relPath}`) || target === join(workspace, relPath)) continue;
      unlinkSync(path);
      symlinkSync(join(workspace, relPath), path);
      touched = true;
      changed++;
    }
    if (touched) syncFolder(folder);
  };
  for (const digest of readdirSync(versions, { withFileTypes: true })) {
    if (digest.isDirectory()) relink(join(versions, digest.name), "");
  }
  return changed;
}
