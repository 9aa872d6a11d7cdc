import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { isScalar, parseDocument, visit } from "yaml";
import { expandHome } from "../../kit/config.ts";
import { updateConfigFile } from "../config-file.ts";
import type { LeoflowPaths } from "../paths.ts";
import { writeDurably } from "./durable-files.ts";
import { movedPath, type Move } from "./target-workspace.ts";

/**
 * Makes an archived config.yaml one for this machine: absolute paths in either home are those of this one's, the workspace is
 * where it is restored to. Everything else, comments too, stays as it was written.
 */
export function moveConfig(file: string, paths: LeoflowPaths, move: Move, workspace: string | undefined): void {
  const document = parseDocument(readFileSync(file, "utf8"), { prettyErrors: false });
  // What is no YAML is told by the next line, with line and column.
  updateConfigFile({ ...paths, config: file }, {});
  let changed = false;
  visit(document, {
    Scalar(key, node) {
      if (key === "key" || typeof node.value !== "string" || !node.value.startsWith("/")) return;
      const moved = movedPath(node.value, move);
      changed ||= moved !== node.value;
      node.value = moved;
    },
  });
  if (changed) writeDurably(file, document.toString());
  if (workspace === undefined) return;
  const configured: unknown = document.get("workspace", true);
  const now = isScalar(configured) && typeof configured.value === "string" ? configured.value : undefined;
  if (now === undefined || resolve(dirname(paths.config), expandHome(now, move.toUserHome)) !== workspace) {
    updateConfigFile({ ...paths, config: file }, { workspace });
  }
}
