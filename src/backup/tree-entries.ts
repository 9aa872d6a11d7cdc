import { constants, type BigIntStats } from "node:fs";
import { open, readlink, type FileHandle } from "node:fs/promises";
import { UserError } from "../kit/user-error.ts";
import type { ArchiveWriter } from "./archive-writer.ts";
import { nameFromBytes, shownName } from "../kit/tar/entry-name.ts";
import { walkTree, type TreeNode } from "./file-tree.ts";

/** Up to this size a file is read whole before it is written, so that its header can say what was read. */
const SMALL_FILE = 1024 * 1024;
const PIECE = 256 * 1024;
/** How often a small file that changes while it is read is read again. */
const READS_AT_MOST = 3;

export interface TreeSource {
  folder: string;
  /** Where it goes in the archive: "workspace". */
  as: string;
  /** Whether to leave out version control, environments and caches. */
  exclude: boolean;
  skip: (node: TreeNode) => boolean;
}

export interface TreeReport {
  /** A line about something that is not, or not as usual, in the archive. */
  onWarning: (text: string) => void;
  /** Something exists and cannot be read. Returns where it is to be left out, throws where not. */
  onUnreadable: (path: string, error: NodeJS.ErrnoException) => void;
  /** Content that was written. */
  onBytes: (bytes: number) => void;
  signal?: AbortSignal | undefined;
}

/** What a look at a tree finds, before anything is written. */
export interface TreeSurvey {
  bytes: number;
  /** At most a hundred. */
  unreadable: string[];
}

/** Sizes, and what cannot be read, so that a backup fails before its long work and not after it. */
export async function surveyTree(source: TreeSource, signal: AbortSignal | undefined): Promise<TreeSurvey> {
  const survey: TreeSurvey = { bytes: 0, unreadable: [] };
  const onProblem = (path: Buffer, error: NodeJS.ErrnoException) => {
    if (!isGone(error) && survey.unreadable.length < 100) survey.unreadable.push(shownName(nameFromBytes(path)));
  };
  for await (const { path, stats } of walkTree(source.folder, { ...source, onProblem })) {
    signal?.throwIfAborted();
    if (!stats.isFile()) continue;
    survey.bytes += Number(stats.size);
    // Opened: access() does not know of network file systems that map root to nobody.
    const file = await openFile(path).catch((error: NodeJS.ErrnoException) => onProblem(path, error));
    await file?.close();
  }
  return survey;
}

/** Puts a folder's tree into the archive as it is: modes, times, links as links, empty folders. */
export async function addTree(writer: ArchiveWriter, source: TreeSource, report: TreeReport): Promise<void> {
  const onProblem = (path: Buffer, error: NodeJS.ErrnoException) => {
    const shown = shownName(nameFromBytes(path));
    if (isGone(error)) report.onWarning(`${shown} was removed while the backup ran and is not in it`);
    else report.onUnreadable(shown, error);
  };
  for await (const node of walkTree(source.folder, { ...source, onProblem })) {
    report.signal?.throwIfAborted();
    const facts = factsOf(`${source.as}/${node.name}`, node.stats);
    if (node.stats.isDirectory()) {
      await writer.folder({ ...facts, name: node.name ? `${facts.name}/` : facts.name });
    } else if (node.stats.isSymbolicLink()) {
      const target = await readlink(node.path, { encoding: "buffer" }).catch((error: NodeJS.ErrnoException) =>
        onProblem(node.path, error),
      );
      if (target) await writer.link(facts, nameFromBytes(target));
    } else if (node.stats.isFile()) {
      const file = await openFile(node.path).catch((error: NodeJS.ErrnoException) => onProblem(node.path, error));
      if (!file) continue;
      try {
        await addFile(writer, `${source.as}/${node.name}`, file, node.path, onProblem, report);
      } finally {
        await file.close();
      }
    } else {
      const kind = node.stats.isSocket() ? "socket" : node.stats.isFIFO() ? "named pipe" : "device";
      report.onWarning(`${shownName(nameFromBytes(node.path))} is a ${kind} and is not in the backup`);
    }
  }
}

/** Not through a link that took its place meanwhile, and without waiting for a pipe's other end. */
function openFile(path: Buffer): Promise<FileHandle> {
  return open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
}

async function addFile(
  writer: ArchiveWriter,
  name: string,
  file: FileHandle,
  path: Buffer,
  onProblem: (path: Buffer, error: NodeJS.ErrnoException) => void,
  report: TreeReport,
): Promise<void> {
  const changed = () => report.onWarning(`${shownName(nameFromBytes(path))} changed while it was read`);
  const stats = await file.stat({ bigint: true });
  if (stats.size <= SMALL_FILE) {
    const read = await readStill(file).catch((error: NodeJS.ErrnoException) => onProblem(path, error));
    if (!read) return;
    if (!read.still) changed();
    await writer.file(factsOf(name, read.stats), read.content);
    report.onBytes(read.content.length);
    return;
  }
  const size = Number(stats.size);
  let shrunk = false;
  const content = async function* () {
    const buffer = Buffer.allocUnsafeSlow(PIECE);
    for (let at = 0; at < size;) {
      report.signal?.throwIfAborted();
      const piece = buffer.subarray(0, size - at);
      const { bytesRead } = await file.read(piece, 0, piece.length, at).catch((error: Error) => {
        throw new UserError(`cannot read ${shownName(nameFromBytes(path))}: ${error.message}`, { cause: error });
      });
      // The header has promised this many bytes.
      if (bytesRead === 0) shrunk = true;
      const bytes = shrunk ? piece.fill(0) : piece.subarray(0, bytesRead);
      yield bytes;
      at += bytes.length;
      report.onBytes(bytes.length);
    }
  };
  await writer.largeFile(factsOf(name, stats), size, content());
  const after = await file.stat({ bigint: true });
  if (shrunk) {
    report.onWarning(
      `${shownName(nameFromBytes(path))} became shorter while it was read; its end is zeros in the backup`,
    );
  } else if (after.mtimeNs !== stats.mtimeNs || after.size !== stats.size) changed();
}

/** A small file's content with the facts that belong to it: read again where it changed meanwhile. */
async function readStill(file: FileHandle): Promise<{ content: Buffer; stats: BigIntStats; still: boolean }> {
  for (let reads = 1; ; reads++) {
    const stats = await file.stat({ bigint: true });
    const content = await readFrom(file, Number(stats.size));
    const after = await file.stat({ bigint: true });
    const still = after.mtimeNs === stats.mtimeNs && BigInt(content.length) === after.size;
    if (still || reads === READS_AT_MOST) return { content, stats, still };
  }
}

/** The first `size` bytes; fewer where it is shorter by now. */
async function readFrom(file: FileHandle, size: number): Promise<Buffer> {
  const content = Buffer.allocUnsafe(size);
  let at = 0;
  while (at < size) {
    const { bytesRead } = await file.read(content, at, size - at, at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return content.subarray(0, at);
}

function factsOf(name: string, stats: BigIntStats): { name: string; mode: number; mtimeUs: number } {
  return { name, mode: Number(stats.mode) & 0o7777, mtimeUs: Number(stats.mtimeNs / 1000n) };
}

/** Gone, or by now something else: what a busy folder does. */
function isGone({ code }: NodeJS.ErrnoException): boolean {
  return code === "ENOENT" || code === "ELOOP" || code === "ENOTDIR" || code === "ENXIO";
}
