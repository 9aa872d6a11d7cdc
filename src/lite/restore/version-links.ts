import { readdirSync, readlinkSync, symlinkSync, unlinkSync } from "node:fs";
import { join, relative } from "node:path";
import { isThere, syncFolder } from "./durable-files.ts";

/**
 * The folders of DAG versions link to the live workspace by its absolute path, each link to what has the same name there. They
 * follow the workspace to where it is now.
 */
export function relinkVersions(versions: string, workspace: string): number {
  if (!isThere(versions)) return 0;
  let changed = 0;
  for (const digest of readdirSync(versions, { withFileTypes: true })) {
    if (!digest.isDirectory()) continue;
    const top = join(versions, digest.name);
    const touched = new Set<string>();
    for (const entry of readdirSync(top, { recursive: true, withFileTypes: true })) {
      if (!entry.isSymbolicLink()) continue;
      const path = join(entry.parentPath, entry.name);
      const name = relative(top, path);
      const target = readlinkSync(path);
      if (!target.startsWith("/") || !target.endsWith(`/${name}`) || target === join(workspace, name)) continue;
      unlinkSync(path);
      symlinkSync(join(workspace, name), path);
      touched.add(entry.parentPath);
      changed++;
    }
    for (const folder of touched) syncFolder(folder);
  }
  return changed;
}
