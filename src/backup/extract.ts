import { constants } from "node:fs";
import { chmod, lutimes, mkdir, open, readdir, symlink, utimes } from "node:fs/promises";
import { UserError } from "../kit/user-error.ts";
import { writeAll } from "./archive-output.ts";
import { nameToBytes, shownName } from "../kit/tar/entry-name.ts";
import type { TarEntry } from "../kit/tar/tar-reader.ts";

const FLUSHES_AT_ONCE = 16;

export interface ExtractEntriesOptions {
  only?: ((name: string) => boolean) | undefined;
  signal?: AbortSignal | undefined;
}

/** Writes checked entries into an empty folder. */
export async function extractEntries(
  entries: AsyncIterable<TarEntry>,
  folder: string,
  { only, signal }: ExtractEntriesOptions,
): Promise<void> {
  if ((await readdir(folder)).length > 0) throw new Error(`${folder} is not empty`);
  const pathOf = (name: string) => Buffer.concat([Buffer.from(`${folder}/`), nameToBytes(name)]);
  const made = new Set<string>();
  const files: Buffer[] = [];
  const folders: TarEntry[] = [];
  // Made last: while files are written there is no link that a write could follow, however the file system compares names.
  const links: TarEntry[] = [];
  for await (const entry of entries) {
    signal?.throwIfAborted();
    if (only && !only(entry.name)) continue;
    await attempt(entry.name, async () => {
      await makeParents(entry.name, pathOf, made);
      if (entry.type === "symlink") links.push(entry);
      else if (entry.type === "directory") {
        if (!made.has(entry.name)) await mkdir(pathOf(entry.name), 0o700);
        made.add(entry.name);
        folders.push(entry);
      } else {
        await writeFile(pathOf(entry.name), entry);
        files.push(pathOf(entry.name));
      }
    });
  }
  for (const entry of links) {
    await attempt(entry.name, async () => {
      await symlink(nameToBytes(entry.target ?? ""), pathOf(entry.name));
      await lutimes(pathOf(entry.name), entry.mtimeUs / 1e6, entry.mtimeUs / 1e6);
    });
  }
  await flush(files, signal);
  // The innermost first, and after their content: filling a folder changes its time, and it may not be writable.
  for (const entry of folders.reverse()) {
    await attempt(entry.name, async () => {
      await syncFolder(pathOf(entry.name));
      await chmod(pathOf(entry.name), entry.mode & 0o3777);
      await utimes(pathOf(entry.name), entry.mtimeUs / 1e6, entry.mtimeUs / 1e6);
    });
  }
  await syncFolder(Buffer.from(folder));
}

/** Where only a part is wanted, the folders above it may not be. */
async function makeParents(name: string, pathOf: (name: string) => Buffer, made: Set<string>): Promise<void> {
  for (let slash = name.indexOf("/"); slash >= 0 && slash < name.length - 1; slash = name.indexOf("/", slash + 1)) {
    const parent = name.slice(0, slash + 1);
    if (made.has(parent)) continue;
    await mkdir(pathOf(parent), 0o700);
    made.add(parent);
  }
}

async function writeFile(path: Buffer, entry: TarEntry): Promise<void> {
  const file = await open(
    path,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    0o600,
  );
  try {
    for await (const chunk of entry.content()) await writeAll(file, chunk, null);
    // No set-user-ID: what ran with somebody's rights there has no claim to them here.
    await file.chmod(entry.mode & 0o777);
    await file.utimes(entry.mtimeUs / 1e6, entry.mtimeUs / 1e6);
  } finally {
    await file.close();
  }
}

/** After all is written: the first flush takes most of the others with it. */
async function flush(files: readonly Buffer[], signal: AbortSignal | undefined): Promise<void> {
  const queue = files.values();
  const work = async () => {
    for (const path of queue) {
      signal?.throwIfAborted();
      const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error: NodeJS.ErrnoException) => {
        // A file without read permission: it is flushed as the others by the kernel's own pace.
        if (error.code === "EACCES") return undefined;
        throw error;
      });
      if (!file) continue;
      await file.sync().finally(() => file.close());
    }
  };
  await Promise.all(Array.from({ length: FLUSHES_AT_ONCE }, work));
}

async function syncFolder(path: Buffer): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  await folder.sync().finally(() => folder.close());
}

/** What the file system refuses, with the name of what was to be written. */
async function attempt(name: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const { code, syscall, message } = error as NodeJS.ErrnoException;
    if (!syscall) throw error;
    if (code === "ENOSPC" || code === "EDQUOT") {
      throw new UserError("the disk is full", { fix: "free some space and run the same command again", cause: error });
    }
    throw new UserError(`cannot write ${shownName(name)}: ${message.split(",")[0]}`, { cause: error });
  }
}
