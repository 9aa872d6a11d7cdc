import { existsSync, lstatSync, readdirSync, realpathSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { LeoflowPaths } from "../paths.ts";

/** Removes CPythons in ~/.leoflow/python that no environment runs on any more. Looks at names and links only. */
export function removeUnusedPythons(paths: LeoflowPaths): void {
  const installed = entries(paths.python).filter((name) => /^cpython-\d+\.\d+\.\d+/.test(name));
  if (installed.length <= 1) return;
  const environments = [paths.venv, ...entries(paths.projectVenvs).map((name) => join(paths.projectVenvs, name))];
  const used = environments.map((folder) => realPath(join(folder, "bin/python"))).filter((path) => path !== undefined);
  const root = realPath(paths.python) ?? paths.python;
  for (const name of installed) {
    const folder = join(root, name);
    if (!used.some((path) => path.startsWith(`${folder}/`))) rmSync(folder, { recursive: true, force: true });
  }
  // uv's short names for what is gone.
  for (const name of entries(root).filter((each) => each.startsWith("cpython-"))) {
    const path = join(root, name);
    if (lstatSync(path).isSymbolicLink() && !existsSync(path)) rmSync(path);
  }
}

function entries(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
