import { createHash, randomBytes } from "node:crypto";
import { constants, type BigIntStats } from "node:fs";
import { link, lstat, mkdir, open, readdir, realpath, rename, rmdir, stat, unlink } from "node:fs/promises";
import { basename, join, posix } from "node:path";
import {
  FileRefusal,
  type FileEntry,
  type FileListing,
  type FileMatch,
  type RefusalReason,
  type TextFile,
  type WorkspaceFiles,
} from "../api/leoflow/files-contract.ts";
import { BUNDLE_MARKER } from "./workspace/bundles-in-workspace.ts";
import { IGNORE_FILE } from "./workspace/discovery.ts";
import { isIgnored, parseIgnoreFile, type IgnoreRule, type IgnoreSyntax } from "./workspace/ignore-rules.ts";
import { Mutex } from "./workspace/mutex.ts";
import { atPlace, isShown, openRoot, partsOf, type OpenFolder, type Place } from "./workspace-files-place.ts";

/** DAG files and their kin; what is larger is data. */
const MAX_FILE_BYTES = 2 * 1024 * 1024;
const MAX_ENTRIES = 10_000;
const MAX_MATCHES = 500;
const MAX_SEARCHED_BYTES = 128 * 1024 * 1024;
const SHOWN_LINE_LENGTH = 240;
const NEW_FILE_MODE = 0o666;
const LONE_SURROGATE = /\p{Surrogate}/u;

interface Content {
  bytes: Buffer;
  found: BigIntStats;
}

/**
 * The workspace's files, for people who edit them in the browser. What was changed on disk since it was read is never
 * overwritten, and nobody sees half a file: content is written beside, and takes its name in one step.
 */
export class EditableFiles implements WorkspaceFiles {
  readonly #config: { workspace: string; ignoreSyntax: IgnoreSyntax };
  /** Of two who save at once, the second is told. */
  readonly #changes = new Mutex();
  #root: Promise<string> | null = null;

  constructor(config: { workspace: string; ignoreSyntax?: IgnoreSyntax }) {
    this.#config = { ignoreSyntax: "glob", ...config };
  }

  async list(): Promise<FileListing> {
    const entries: FileEntry[] = [];
    await this.#walk((entry) => {
      entries.push(entry);
      return entries.length < MAX_ENTRIES;
    });
    return { entries, truncated: entries.length >= MAX_ENTRIES };
  }

  async search(text: string): Promise<{ matches: FileMatch[]; truncated: boolean }> {
    const wanted = text.toLowerCase();
    const matches: FileMatch[] = [];
    let searched = 0;
    let left = false;
    const files = (await this.list()).entries.filter(({ kind, bytes }) => kind === "file" && bytes <= MAX_FILE_BYTES);
    for (const { path, bytes } of files) {
      searched += bytes;
      left = matches.length >= MAX_MATCHES || searched > MAX_SEARCHED_BYTES;
      if (left) break;
      const content = await this.read(path).catch((error: unknown) => {
        if (error instanceof FileRefusal) return null;
        throw error;
      });
      if (content?.text.toLowerCase().includes(wanted)) matches.push(...linesWith(wanted, content));
    }
    return { matches: matches.slice(0, MAX_MATCHES), truncated: left || matches.length > MAX_MATCHES };
  }

  async read(path: string): Promise<TextFile> {
    return this.#at(path, "file", async (place) => {
      const { bytes } = await contentOf(place);
      const location = join(await this.#realRoot(), path);
      return { path, location, text: textOf(path, bytes), tag: tagOf(bytes), readOnly: await isReadOnly(place) };
    });
  }

  async write(path: string, text: string, tag: string): Promise<string> {
    const bytes = bytesOf(path, text);
    const write = async (place: Place) => {
      await refuseBundle(place);
      const before = await contentOf(place);
      const now = tagOf(before.bytes);
      if (now === tagOf(bytes)) return now;
      if (now !== tag) throw changed(path);
      // rename() would ask only for the folder.
      await open(await place.folder.at(place.name), constants.O_WRONLY | constants.O_NOFOLLOW).then((file) =>
        file.close(),
      );
      await publish(place, bytes, Number(before.found.mode & 0o7777n), async () => {
        const found = await place.folder.look(place.name);
        if (!found || stampOf(found) !== stampOf(before.found)) throw changed(path);
      });
      return tagOf(bytes);
    };
    return this.#changes.run(() => this.#at(path, "file", write));
  }

  async createFile(path: string, text: string): Promise<string> {
    const bytes = bytesOf(path, text);
    const create = async (place: Place) => {
      await refuseBundle(place);
      await refuseExisting(place, path);
      await publish(place, bytes, null, null);
      return tagOf(bytes);
    };
    return this.#changes.run(() => this.#at(path, "file", create, { asNamed: true, makeFolders: true }));
  }

  async createFolder(path: string): Promise<void> {
    const create = async (place: Place) => {
      await refuseBundle(place);
      await refuseExisting(place, path);
      await mkdir(await place.folder.at(place.name));
    };
    return this.#changes.run(() => this.#at(path, "folder", create, { asNamed: true, makeFolders: true }));
  }

  async rename(from: string, to: string): Promise<void> {
    if (to.startsWith(`${from}/`)) throw new FileRefusal("invalid-path", "A folder cannot be moved into itself.");
    const move = async (source: Place) => {
      await refuseBundle(source);
      const found = await source.folder.look(source.name);
      if (!found) throw missing(from);
      const kind = found.isDirectory() ? "folder" : "file";
      const arrive = async (target: Place) => {
        await refuseBundle(target);
        await refuseExisting(target, to);
        await moveOnto(source, target, found.isFile());
      };
      await this.#at(to, kind, arrive, { asNamed: true, makeFolders: true });
    };
    return this.#changes.run(() => this.#at(from, "any", move, { asNamed: true }));
  }

  async remove(path: string, recursive: boolean): Promise<void> {
    const remove = async (place: Place) => {
      await refuseBundle(place);
      const found = await place.folder.look(place.name);
      if (!found) throw missing(path);
      if (found.isDirectory()) await removeFolder(place, recursive);
      else await unlink(await place.folder.at(place.name));
    };
    return this.#changes.run(() => this.#at(path, "any", remove, { asNamed: true }));
  }

  async #at<T>(
    path: string,
    kind: "file" | "folder" | "any",
    use: (place: Place) => Promise<T>,
    options?: { asNamed?: boolean; makeFolders?: boolean },
  ): Promise<T> {
    const parts = partsOf(path, kind);
    try {
      return await atPlace(await this.#realRoot(), parts, use, options);
    } catch (error) {
      throw refusalOf(error, path);
    }
  }

  #realRoot(): Promise<string> {
    this.#root ??= realpath(this.#config.workspace).catch((error: unknown) => {
      this.#root = null;
      throw error;
    });
    return this.#root;
  }

  /** Every file and folder that is shown, folders before what is in them; links are told by what they lead to. */
  async #walk(visit: (entry: FileEntry) => boolean): Promise<void> {
    const root = await this.#realRoot().catch((error: unknown) => {
      throw refusalOf(error, "workspace");
    });
    const syntax = this.#config.ignoreSyntax;
    const walk = async (folder: OpenFolder, rules: readonly IgnoreRule[], outer: Inherited): Promise<boolean> => {
      const entries = await readdir(await folder.at(""), { withFileTypes: true });
      const own = entries.some(({ name }) => name === IGNORE_FILE)
        ? [...rules, ...(await rulesIn(folder, syntax))]
        : rules;
      for (const { name } of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
        const path = posix.join(folder.path, name);
        const named = await folder.look(name).catch(() => null);
        const found = named?.isSymbolicLink() ? await targetOf(folder, name) : named;
        const kind = found?.isDirectory() ? "folder" : found?.isFile() ? "file" : null;
        if (!found || kind === null || !isShown(name, kind)) continue;
        // The folder that a link leads to is in the list by its own name.
        if (kind === "folder" && named?.isSymbolicLink()) continue;
        const ignored = outer.ignored || isIgnored(own, path, kind === "folder");
        const readOnly = outer.readOnly || (folder.path === "" && (await isBundle({ folder, name })));
        const isLocked = kind === "file" && (found.mode & 0o200n) === 0n;
        if (!visit({ path, kind, bytes: Number(found.size), readOnly: readOnly || isLocked, ignored })) return false;
        if (kind !== "folder") continue;
        const inner = await folder.inner(name).catch(() => null);
        if (!inner) continue;
        try {
          if (!(await walk(inner, own, { ignored, readOnly }))) return false;
        } finally {
          await inner.close();
        }
      }
      return true;
    };
    const top = await openRoot(root);
    try {
      await walk(top, [], { ignored: false, readOnly: false });
    } finally {
      await top.close();
    }
  }
}

interface Inherited {
  ignored: boolean;
  readOnly: boolean;
}

/** What a link leads to, when that is inside. */
async function targetOf(folder: OpenFolder, name: string): Promise<BigIntStats | null> {
  try {
    await folder.follow(name);
    return await stat(await folder.at(name), { bigint: true });
  } catch {
    return null;
  }
}

async function rulesIn(folder: OpenFolder, syntax: IgnoreSyntax): Promise<IgnoreRule[]> {
  try {
    const { bytes } = await contentOf({ folder, name: IGNORE_FILE });
    return parseIgnoreFile(bytes.toString("utf8"), folder.path, syntax).rules;
  } catch {
    return [];
  }
}

async function contentOf({ folder, name }: Place): Promise<Content> {
  // A pipe in the workspace must not make us wait.
  const file = await open(await folder.at(name), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const found = await file.stat({ bigint: true });
    const path = posix.join(folder.path, name);
    if (!found.isFile()) throw new FileRefusal("not-text", `${path} is not a file.`);
    if (found.size > BigInt(MAX_FILE_BYTES)) throw tooLarge(path);
    const bytes = await file.readFile();
    if (bytes.length > MAX_FILE_BYTES) throw tooLarge(path);
    return { bytes, found };
  } finally {
    await file.close();
  }
}

/**
 * Gives the bytes their name in one step: a new name with `mode` null, which nothing may have; else in place of the file that
 * `check` looked at a moment before.
 */
async function publish(
  { folder, name }: Place,
  bytes: Buffer,
  mode: number | null,
  check: (() => Promise<void>) | null,
): Promise<void> {
  const beside = `.${name.slice(0, 100)}.${randomBytes(6).toString("hex")}.tmp`;
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const file = await open(await folder.at(beside), flags, mode ?? NEW_FILE_MODE);
  try {
    try {
      await file.writeFile(bytes);
      if (mode !== null) await file.chmod(mode);
      await file.sync();
    } finally {
      await file.close();
    }
    await check?.();
    if (check) await rename(await folder.at(beside), await folder.at(name));
    else await moveOnto({ folder, name: beside }, { folder, name }, true);
  } finally {
    await unlink(await folder.at(beside)).catch(() => undefined);
  }
}

/** rename() would replace what came to be there meanwhile; link() does not. Not every file system has it, nor folders. */
async function moveOnto(from: Place, to: Place, isFile: boolean): Promise<void> {
  const [source, target] = [await from.folder.at(from.name), await to.folder.at(to.name)];
  if (isFile) {
    const linked = await link(source, target).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (/^(EPERM|ENOTSUP|EOPNOTSUPP|ENOSYS|EXDEV|EMLINK)$/.test(error.code ?? "")) return false;
        throw error;
      },
    );
    if (linked) return unlink(source);
    await refuseExisting(to, posix.join(to.folder.path, to.name));
  }
  await rename(source, target);
}

/** Never through links, and never by a name that could have become one. */
async function removeFolder({ folder, name }: Place, recursive: boolean): Promise<void> {
  const inner = await folder.inner(name);
  try {
    const entries = await readdir(await inner.at(""), { withFileTypes: true });
    if (entries.length > 0 && !recursive) {
      throw new FileRefusal("not-empty", `${inner.path} is not empty.`);
    }
    for (const entry of entries) {
      if (entry.isDirectory()) await removeFolder({ folder: inner, name: entry.name }, true);
      else await unlink(await inner.at(entry.name));
    }
  } finally {
    await inner.close();
  }
  await rmdir(await folder.at(name));
}

async function refuseExisting({ folder, name }: Place, path: string): Promise<void> {
  if (await folder.look(name)) throw exists(path);
}

/** A folder at the top of the workspace that Leoflow fills. */
async function isBundle({ folder, name }: Place): Promise<boolean> {
  return (await lstat(join(await folder.at(name), BUNDLE_MARKER)).catch(() => null)) !== null;
}

async function refuseBundle({ folder, name }: Place): Promise<void> {
  if (!(await folder.isOfBundle()) && !(folder.path === "" && (await isBundle({ folder, name })))) return;
  throw new FileRefusal(
    "read-only",
    "This folder belongs to a DAG bundle. Change its files where the bundle comes from.",
  );
}

async function isReadOnly({ folder, name }: Place): Promise<boolean> {
  if (await folder.isOfBundle()) return true;
  const file = await open(await folder.at(name), constants.O_WRONLY | constants.O_NOFOLLOW).catch(() => null);
  await file?.close();
  return file === null;
}

function linesWith(wanted: string, { path, text }: TextFile): FileMatch[] {
  const matches: FileMatch[] = [];
  for (const [index, line] of text.split(/\r\n|\n|\r/).entries()) {
    const at = line.toLowerCase().indexOf(wanted);
    if (at < 0) continue;
    const from = Math.max(0, at - SHOWN_LINE_LENGTH / 2);
    matches.push({ path, line: index + 1, column: at + 1, text: line.slice(from, from + SHOWN_LINE_LENGTH) });
  }
  return matches;
}

function textOf(path: string, bytes: Buffer): string {
  const refuse = () => new FileRefusal("not-text", `${path} is not text in UTF-8, so it is not edited here.`);
  if (bytes.includes(0)) throw refuse();
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw refuse();
  }
}

function bytesOf(path: string, text: string): Buffer {
  if (LONE_SURROGATE.test(text) || text.includes("\0")) {
    throw new FileRefusal("not-text", "The text holds a character that UTF-8 text cannot have.");
  }
  const bytes = Buffer.from(text, "utf8");
  if (bytes.length > MAX_FILE_BYTES) throw tooLarge(path);
  return bytes;
}

const tagOf = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex").slice(0, 32);
const stampOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats) => [dev, ino, size, mtimeNs, ctimeNs].join(":");

const missing = (path: string) => new FileRefusal("not-found", `There is no ${path} any more.`);
const exists = (path: string) => new FileRefusal("exists", `There is a ${basename(path)} already.`);
const changed = (path: string) =>
  new FileRefusal("changed", `${path} was changed on disk since it was opened here. Nothing was saved.`);
const tooLarge = (path: string) =>
  new FileRefusal("too-large", `${path} is larger than ${MAX_FILE_BYTES / 1024 / 1024} MB, so it is not edited here.`);

/** What the file system says, by the codes of errno(3). */
const REFUSED: Record<string, { reason: RefusalReason; message: (path: string) => string }> = {
  ENOENT: { reason: "not-found", message: (path) => `There is no ${path} any more.` },
  ENOTDIR: { reason: "not-found", message: (path) => `A part of ${path} is not a folder.` },
  // O_NOFOLLOW met a link: it was none a moment ago.
  ELOOP: { reason: "changed", message: (path) => `${path} is being replaced. Try again.` },
  EEXIST: { reason: "exists", message: (path) => `There is a ${basename(path)} already.` },
  ENOTEMPTY: { reason: "not-empty", message: (path) => `${path} is not empty.` },
  EISDIR: { reason: "not-text", message: (path) => `${path} is a folder.` },
  EACCES: { reason: "read-only", message: (path) => `The user who runs Leoflow may not do this with ${path}.` },
  EPERM: { reason: "read-only", message: (path) => `The user who runs Leoflow may not do this with ${path}.` },
  EROFS: { reason: "read-only", message: () => "The workspace's file system is read-only." },
  ETXTBSY: { reason: "read-only", message: (path) => `${path} is being run.` },
  ENXIO: { reason: "not-text", message: (path) => `${path} is not a file.` },
  ENAMETOOLONG: { reason: "invalid-path", message: () => "The name is too long." },
  EILSEQ: { reason: "invalid-path", message: () => "The file system cannot have such a name." },
  ENOSPC: { reason: "no-space", message: () => "The disk is full. Nothing was changed." },
  EDQUOT: { reason: "no-space", message: () => "The disk quota is used up. Nothing was changed." },
};

function refusalOf(error: unknown, path: string): unknown {
  const known = REFUSED[(error as NodeJS.ErrnoException | null)?.code ?? ""];
  return known ? new FileRefusal(known.reason, known.message(path), { cause: error }) : error;
}
