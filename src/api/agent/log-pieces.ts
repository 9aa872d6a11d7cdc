import { constants } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";

export type PieceOutcome =
  | { kind: "written"; size: number }
  /** The piece begins behind the file's end. */
  | { kind: "gap"; size: number }
  | { kind: "full" };

const NO_ROOM = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/**
 * Writes pieces of logs where they belong. What it says was written is in the file: a server that is killed keeps it, a machine that
 * loses its power may lose its last seconds, as with every log here.
 */
export class LogPieces {
  readonly #logsDir: string;
  /** One piece of a file after the other. */
  readonly #working = new Map<string, Promise<unknown>>();

  constructor(logsDir: string) {
    this.#logsDir = resolve(logsDir);
  }

  /** `path` is below the logs folder. Bytes that the file has already are passed over. */
  async write(path: string, offset: number, piece: Buffer): Promise<PieceOutcome> {
    const file = join(this.#logsDir, path);
    if (!file.startsWith(this.#logsDir + sep)) throw new Error(`${path} is outside of the logs`);
    const before = this.#working.get(file) ?? Promise.resolve();
    const working = before.then(() => writePiece(file, offset, piece));
    const settled = working.catch(() => undefined);
    this.#working.set(file, settled);
    try {
      return await working;
    } finally {
      if (this.#working.get(file) === settled) this.#working.delete(file);
    }
  }
}

async function writePiece(path: string, offset: number, piece: Buffer): Promise<PieceOutcome> {
  try {
    await mkdir(dirname(path), { recursive: true });
    const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o644);
    try {
      const { size } = await file.stat();
      if (offset > size) return { kind: "gap", size };
      let at = size;
      while (at < offset + piece.length) {
        const { bytesWritten } = await file.write(piece, at - offset, offset + piece.length - at, at);
        at += bytesWritten;
      }
      return { kind: "written", size: at };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (NO_ROOM.has((error as NodeJS.ErrnoException).code ?? "")) return { kind: "full" };
    throw error;
  }
}
