import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { programVersion } from "../../kit/version.ts";
import type { LeoflowPaths } from "../paths.ts";
import { readBaseMarker } from "./base-python.ts";

/**
 * Names what DAG files are parsed with: this release and its Python sources, Airflow's packages, the Python below them. What another
 * one has parsed is parsed again, though the file is the same.
 */
export function runtimeIdentity(paths: LeoflowPaths): string {
  const hash = createHash("sha256").update(`${programVersion}\n${readBaseMarker(paths)?.python}\n`);
  const sources = join(paths.runtime, "leoflow_runtime");
  const names = readdirSync(sources).filter((name) => name.endsWith(".py"));
  for (const file of [join(paths.program, "python/requirements.lock"), ...names.sort().map((n) => join(sources, n))]) {
    hash.update(readFileSync(file));
  }
  return hash.digest("hex");
}
