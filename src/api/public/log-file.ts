import { open, type FileHandle } from "node:fs/promises";

/**
 * A try's log as pages of complete lines. A log may be gigabytes: whatever is asked for, no more than a piece of it is in memory.
 */

const PIECE_BYTES = 256 * 1024;
/** What a line is cut to: a browser has to show it. */
const LINE_BYTES = 1024 * 1024;

/** A stretch of the file, from the start of a line to the end of one. */
export interface Stretch {
  from: number;
  to: number;
}

/** Runs `work` on the open file and closes it; null when there is no such file. */
export async function withLog<T>(path: string, work: (handle: FileHandle) => Promise<T>): Promise<T | null> {
  const handle = await openFile(path);
  if (!handle) return null;
  try {
    return await work(handle);
  } finally {
    await handle.close();
  }
}

async function openFile(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

/** Where the log ends for now: behind its last complete line while it grows. */
export async function endOf(handle: FileHandle, growing: boolean): Promise<number> {
  const { size } = await handle.stat();
  return growing ? await lineEndBefore(handle, size, 0) : size;
}

/** The end of the last line that is complete at `position`, but not before `least`. */
export async function lineEndBefore(handle: FileHandle, position: number, least: number): Promise<number> {
  const piece = Buffer.allocUnsafe(PIECE_BYTES);
  for (let until = position; until > least;) {
    const from = Math.max(least, until - PIECE_BYTES);
    const { bytesRead } = await handle.read(piece, 0, until - from, from);
    const found = piece.subarray(0, bytesRead).lastIndexOf(10);
    if (found >= 0) return from + found + 1;
    until = from;
  }
  return least;
}

/** The lines of a stretch; one that is overlong comes cut, with a word about it. None, when the file is gone. */
export async function* linesOf(path: string, stretch: Stretch): AsyncGenerator<string> {
  const handle = await openFile(path);
  if (!handle) return;
  try {
    yield* readLines(handle, stretch);
  } finally {
    await handle.close();
  }
}

async function* readLines(handle: FileHandle, stretch: Stretch): AsyncGenerator<string> {
  let pending: Buffer[] = [];
  let kept = 0;
  let dropped = 0;
  const keep = (bytes: Buffer): void => {
    const room = Math.max(0, LINE_BYTES - kept);
    // A copy: the piece is read into again.
    if (room > 0) pending.push(Buffer.from(bytes.subarray(0, room)));
    kept += Math.min(room, bytes.length);
    dropped += Math.max(0, bytes.length - room);
  };
  const take = (): string => {
    const text = Buffer.concat(pending).toString("utf8");
    const line = dropped > 0 ? `${text}… (${dropped} more bytes in this line)` : text;
    pending = [];
    kept = dropped = 0;
    return line.endsWith("\r") ? line.slice(0, -1) : line;
  };
  const piece = Buffer.allocUnsafe(PIECE_BYTES);
  for (let at = stretch.from; at < stretch.to;) {
    const { bytesRead } = await handle.read(piece, 0, Math.min(PIECE_BYTES, stretch.to - at), at);
    if (bytesRead === 0) break;
    at += bytesRead;
    const bytes = piece.subarray(0, bytesRead);
    let start = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
      keep(bytes.subarray(start, end));
      yield take();
      start = end + 1;
    }
    keep(bytes.subarray(start));
  }
  if (kept > 0) yield take();
}
