import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { join, posix } from "node:path";
import { UserError } from "../../kit/user-error.ts";
import { isIgnored, parseIgnoreFile, type IgnoreRule } from "./ignore-rules.ts";

/** Never packed: they are others' or can be made anew. */
const NEVER = [".git", "__pycache__", "*.pyc", ".venv", "venv", "/dag.json"];

/** What a push may hold; the server refuses more. */
export const PACK_LIMITS = { files: 5_000, bytes: 256 * 1024 * 1024, packedBytes: 64 * 1024 * 1024 };

export interface PackedFile {
  /** Below the project, with `/`. */
  path: string;
  /** Hexadecimal SHA-256 of the content. */
  sha256: string;
  executable: boolean;
}

export interface PackRules {
  include_paths?: readonly string[] | undefined;
  exclude_paths?: readonly string[] | undefined;
}

/** The project's files as `include_paths` and `exclude_paths` have it, in order of their paths. Throws UserError for a link. */
export async function packedFiles(folder: string, rules: PackRules): Promise<PackedFile[]> {
  const excluded = globs([...NEVER, ...(rules.exclude_paths ?? [])]);
  const wanted = (rules.include_paths ?? ["."]).map((path) => posix.normalize(path).replace(/\/$/, ""));
  const included = wanted.includes(".") ? null : globs(wanted.map((path) => `/${path}`));
  const found: PackedFile[] = [];
  let bytes = 0;
  const walk = async (below: string, isIncluded: boolean): Promise<void> => {
    const entries = await readdir(join(folder, below), { withFileTypes: true });
    for (const entry of entries) {
      const path = posix.join(below, entry.name);
      const isFolder = entry.isDirectory();
      if (isIgnored(excluded, path, isFolder)) continue;
      const isWanted = isIncluded || isIgnored(included ?? [], path, isFolder);
      if (isFolder) await walk(path, isWanted);
      else if (isWanted && entry.isSymbolicLink()) {
        throw new UserError(`${join(folder, path)} is a link, and what it leads to would be missing elsewhere`, {
          fix: "replace it by the file, or name it in exclude_paths of leoflow.yaml",
        });
      } else if (isWanted && entry.isFile()) {
        const { mode, size } = await lstat(join(folder, path));
        bytes += size;
        if (found.length >= PACK_LIMITS.files || bytes > PACK_LIMITS.bytes) throw tooLarge(folder);
        found.push({ path, sha256: await hashOfFile(join(folder, path)), executable: (mode & 0o100) !== 0 });
      }
    }
  };
  await walk("", included === null);
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The hash of a whole set of files: of their paths, contents and whether they are programs. */
export function filesHash(files: readonly PackedFile[]): string {
  const lines = files.map(({ path, sha256, executable }) => `${sha256} ${executable ? "x" : "-"} ${path}\n`).sort();
  return `sha256:${createHash("sha256").update(lines.join("")).digest("hex")}`;
}

async function hashOfFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

function globs(patterns: readonly string[]): IgnoreRule[] {
  return parseIgnoreFile(patterns.join("\n"), "", "glob").rules;
}

function tooLarge(folder: string): UserError {
  const { files, bytes } = PACK_LIMITS;
  return new UserError(`${folder} is too large to be packed: at most ${files} files and ${bytes / 1024 / 1024} MB`, {
    fix: "leave data out with exclude_paths, or name what is needed with include_paths in leoflow.yaml",
  });
}
