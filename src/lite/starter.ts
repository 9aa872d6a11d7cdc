import { cpSync, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { LeoflowPaths } from "./paths.ts";

/** An empty workspace gets a project whose DAG runs green at once. Returns whether it was empty. */
export function copyStarterInto(workspace: string, paths: LeoflowPaths): boolean {
  const starter = join(paths.program, "examples/starter");
  if (readdirSync(workspace).some((name) => !name.startsWith(".")) || !existsSync(starter)) return false;
  cpSync(starter, workspace, { recursive: true, filter: (source) => !source.endsWith("__pycache__") });
  return true;
}
