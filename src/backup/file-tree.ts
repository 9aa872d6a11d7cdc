import type { BigIntStats } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { nameFromBytes } from "../kit/tar/entry-name.ts";

/** Left out at any depth: what tools make again, and histories of their own. */
const EXCLUDED = new Set(
  [".git", ".hg", ".svn", ".venv", "venv", "__pycache__", ".pytest_cache"].concat([
    ...["node_modules", ".tox", ".mypy_cache", ".ruff_cache"],
  ]),
);

export interface TreeNode {
  path: Buffer;
  /** Relative to the tree's top; "" for the top itself. */
  name: string;
  stats: BigIntStats;
}

export interface TreeOptions {
  /** Whether to leave out version control, environments and caches. */
  exclude: boolean;
  /** Further nodes to leave out, with all below them. */
  skip: (node: TreeNode) => boolean;
  /** A folder or file that cannot be read or is gone. */
  onProblem: (path: Buffer, error: NodeJS.ErrnoException) => void;
}

/** All below a folder and the folder itself: parents before their content, names in the order of their bytes. No link is followed. */
export async function* walkTree(top: string, options: TreeOptions): AsyncGenerator<TreeNode> {
  const path = Buffer.from(top);
  // The top may be a link: its target is what is meant.
  const stats = await lstat(Buffer.concat([path, Buffer.from("/.")]), { bigint: true });
  yield* walk({ path, name: "", stats }, options);
}

async function* walk(node: TreeNode, options: TreeOptions): AsyncGenerator<TreeNode> {
  if (options.skip(node)) return;
  if (!node.stats.isDirectory()) {
    yield node;
    return;
  }
  let names: Buffer[];
  try {
    names = await readdir(node.path, { encoding: "buffer" });
  } catch (error) {
    options.onProblem(node.path, error as NodeJS.ErrnoException);
    return;
  }
  yield node;
  for (const bytes of names.sort((a, b) => Buffer.compare(a, b))) {
    const path = Buffer.concat([node.path, Buffer.from("/"), bytes]);
    const name = nameFromBytes(bytes);
    let stats: BigIntStats;
    try {
      stats = await lstat(path, { bigint: true });
    } catch (error) {
      options.onProblem(path, error as NodeJS.ErrnoException);
      continue;
    }
    if (options.exclude && isExcluded(name, stats)) continue;
    yield* walk({ path, name: node.name ? `${node.name}/${name}` : name, stats }, options);
  }
}

/** A plain file may be called "venv"; `.git` is a file in worktrees and submodules. */
function isExcluded(name: string, stats: BigIntStats): boolean {
  return EXCLUDED.has(name) && (stats.isDirectory() || stats.isSymbolicLink() || name === ".git");
}
