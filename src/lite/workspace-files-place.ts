import { constants, type BigIntStats } from "node:fs";
import { lstat, mkdir, open, readlink, realpath, stat, type FileHandle } from "node:fs/promises";
import { join, posix, relative, sep } from "node:path";
import { FileRefusal } from "../api/leoflow/files-contract.ts";
import { BUNDLE_MARKER } from "./workspace/bundles-in-workspace.ts";
import { isSkippedFolder } from "./workspace/discovery.ts";

/**
 * Where a path of the workspace lies. Nothing outside is ever reached, also while somebody replaces folders by links:
 *
 * 1. A folder is opened first and judged by where the open folder is, not by its name.
 * 2. On Linux everything is done below the open folder (`/proc/self/fd/<n>/name`, which is openat), so that what was judged
 *    is what is used. Elsewhere the folder is judged again just before each change.
 * 3. The last part of a path is never followed when it is a link: a link that stays inside is resolved, and judged anew.
 */

/** Hidden files that people edit; all others may hold secrets or belong to tools. */
const EDITABLE_HIDDEN = new Set([".airflowignore", ".gitignore"]);
const MAX_PATH_BYTES = 1_024;
const MAX_NAME_BYTES = 255;
const MAX_LINKS = 8;
const OPEN_FOLDERS = "/proc/self/fd";

/** Whether a name is shown and may be used. */
export function isShown(name: string, kind: "file" | "folder"): boolean {
  return kind === "folder" ? !isSkippedFolder(name) : !name.startsWith(".") || EDITABLE_HIDDEN.has(name);
}

/** The parts of a path below the workspace. */
export function partsOf(path: string, kind: "file" | "folder" | "any"): string[] {
  const parts = path.split("/");
  const refuse = (message: string) => new FileRefusal("invalid-path", message);
  if (path === "" || Buffer.byteLength(path) > MAX_PATH_BYTES) throw refuse("The path is empty or too long.");
  if (/[\u0000-\u001f\u007f\\]/.test(path)) throw refuse("The path holds a character that cannot be in a name.");
  for (const [index, part] of parts.entries()) {
    if (part === "" || part === "." || part === "..") throw refuse(`${path} is not a path below the workspace.`);
    if (Buffer.byteLength(part) > MAX_NAME_BYTES) throw refuse(`The name ${part.slice(0, 40)}… is too long.`);
    const kinds = index < parts.length - 1 ? (["folder"] as const) : kind === "any" ? KINDS : ([kind] as const);
    if (!kinds.some((each) => isShown(part, each))) {
      throw refuse(`${part}: hidden files, virtual environments and caches are not edited here.`);
    }
  }
  return parts;
}

const KINDS = ["file", "folder"] as const;

/** A folder of the workspace, held open. */
export class OpenFolder {
  /** Below the workspace, by its real path; "" is the workspace. */
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #real: string;
  readonly #root: string;

  constructor(root: string, real: string, handle: FileHandle) {
    this.#root = root;
    this.#real = real;
    this.#handle = handle;
    this.path = relative(root, real).replaceAll(sep, "/");
  }

  /** Where an entry of this very folder is, for one call of the file system. */
  async at(name: string): Promise<string> {
    if (process.platform === "linux") return join(OPEN_FOLDERS, String(this.#handle.fd), name);
    const [held, named] = await Promise.all([this.#handle.stat(), stat(this.#real)]);
    const moved = held.ino !== named.ino || held.dev !== named.dev || (await realpath(this.#real)) !== this.#real;
    if (moved) throw outside(this.path);
    return join(this.#real, name);
  }

  /** What an entry is, links not followed; null when there is none. */
  async look(name: string): Promise<BigIntStats | null> {
    return lstat(await this.at(name), { bigint: true }).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw error;
    });
  }

  /** A folder in this one, which must not be a link. */
  async inner(name: string): Promise<OpenFolder> {
    return openFolder(this.#root, await this.at(name), constants.O_NOFOLLOW);
  }

  /** Where a link in this folder leads, below the workspace. */
  async follow(name: string): Promise<string> {
    const real = await realpath(await this.at(name)).catch(() => null);
    const path = join(this.path, name);
    if (real === null) throw new FileRefusal("not-found", `${path} is a link that leads nowhere.`);
    return relativeTo(this.#root, real, path);
  }

  /** It belongs to a git bundle: its files are replaced at the next commit. */
  async isOfBundle(): Promise<boolean> {
    const [top] = this.path.split("/");
    if (!top) return false;
    return (await stat(join(this.#root, top, BUNDLE_MARKER)).catch(() => null)) !== null;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

export interface Place {
  folder: OpenFolder;
  name: string;
}

/**
 * Opens the folder of a path, resolves the last name when it is a link (unless `asNamed`), runs `use` there and closes.
 * `root` is a real path.
 */
export async function atPlace<T>(
  root: string,
  parts: readonly string[],
  use: (place: Place) => Promise<T>,
  options: { asNamed?: boolean; makeFolders?: boolean } = {},
): Promise<T> {
  let current = parts;
  for (let links = 0; links < MAX_LINKS; links++) {
    const folder = await openPath(root, current.slice(0, -1), options.makeFolders ?? false);
    try {
      const name = current[current.length - 1] as string;
      const found = options.asNamed ? null : await folder.look(name);
      if (!found?.isSymbolicLink()) return await use({ folder, name });
      current = partsOf(await folder.follow(name), "any");
    } finally {
      await folder.close();
    }
  }
  throw new FileRefusal("not-found", `${parts.join("/")} is a link that leads to itself.`);
}

export async function openRoot(root: string): Promise<OpenFolder> {
  return openFolder(root, root, 0);
}

async function openPath(root: string, parts: readonly string[], make: boolean): Promise<OpenFolder> {
  let folder = await openFolder(root, root, 0);
  for (const part of parts) {
    const outer = folder;
    try {
      const found = await outer.look(part);
      if (found?.isSymbolicLink()) {
        folder = await openPath(root, partsOf(await outer.follow(part), "folder"), false);
      } else {
        if (!found && make) await mkdir(await outer.at(part)).catch(unlessExists);
        folder = await outer.inner(part);
      }
    } finally {
      await outer.close();
    }
  }
  return folder;
}

async function openFolder(root: string, path: string, flags: number): Promise<OpenFolder> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | flags);
  try {
    const linux = process.platform === "linux";
    const real = linux ? await readlink(join(OPEN_FOLDERS, String(handle.fd))) : await realpath(path);
    relativeTo(root, real, path);
    return new OpenFolder(root, real, handle);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** `real` below the workspace; refuses what is not. */
function relativeTo(root: string, real: string, named: string): string {
  const path = relative(root, real).replaceAll(sep, "/");
  if (path === ".." || path.startsWith("../") || posix.isAbsolute(path)) throw outside(named);
  return path;
}

function outside(path: string): FileRefusal {
  return new FileRefusal("outside", `${path} leads out of the workspace; only what lies in it is edited here.`);
}

function unlessExists(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") throw error;
}
