import { open, type FileHandle } from "node:fs/promises";
import { promisify } from "node:util";
import { constants, gzip, gzipSync } from "node:zlib";

const compress = promisify(gzip);

/** Large enough that compressing blocks apart costs no size to speak of, small enough for a few in memory. */
const BLOCK_BYTES = 512 * 1024;
/** zlib's threads in Node are four. */
const BLOCKS_AT_ONCE = 4;
/** Measured on a dump of 760 MB: a third of level 6's time for 3 % more bytes. */
const LEVEL = 3;
/** What does not get smaller (pictures, Parquet, archives) is stored: seen by the first bytes of each block. */
const SAMPLE_BYTES = 16 * 1024;
const OUTPUT_CHUNK = 128 * 1024;
const WORTH_IT = 0.96;

/** A place in the file whose bytes are set later. */
export interface Slot {
  offset: number;
  size: number;
}

/**
 * A gzip file written in one pass. It is a row of gzip members, which every gunzip reads as one: blocks are compressed on
 * several cores at once, and a member that is only stored can be written over later, which is how a tar header gets a size that
 * was not known when its content began.
 */
export class ArchiveOutput {
  readonly #file: FileHandle;
  /** Blocks are used again and again: fresh ones would pile up faster than they are collected. */
  readonly #freeBlocks: Buffer[] = [];
  #block: Buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  #filled = 0;
  readonly #inWork: Promise<Buffer>[] = [];
  #offset = 0;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Makes the file, which must not exist, for this user alone. */
  static async create(path: string): Promise<ArchiveOutput> {
    return new ArchiveOutput(await open(path, "wx", 0o600));
  }

  get handle(): FileHandle {
    return this.#file;
  }

  /** The bytes are the caller's again once this has returned. */
  async write(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const copied = bytes.copy(this.#block, this.#filled, at);
      at += copied;
      this.#filled += copied;
      if (this.#filled === BLOCK_BYTES) await this.#endBlock();
    }
  }

  /** Leaves room for bytes of this size. */
  async writeSlot(size: number): Promise<Slot> {
    await this.#flush();
    const slot = { offset: this.#offset, size };
    await this.#append(gzipSync(Buffer.alloc(size), { level: constants.Z_NO_COMPRESSION }));
    return slot;
  }

  async fillSlot(slot: Slot, bytes: Buffer): Promise<void> {
    if (bytes.length !== slot.size) throw new Error("a slot's bytes must have its size");
    await writeAll(this.#file, gzipSync(bytes, { level: constants.Z_NO_COMPRESSION }), slot.offset);
  }

  /** All is in the file, and on the disk. Returns its size. */
  async finish(): Promise<number> {
    await this.#flush();
    await this.#file.sync();
    return this.#offset;
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#inWork);
    await this.#file.close();
  }

  async #endBlock(): Promise<void> {
    const block = this.#block;
    const compressed = compressBlock(block.subarray(0, this.#filled)).finally(() => this.#freeBlocks.push(block));
    // Its error is met where it is awaited.
    compressed.catch(() => undefined);
    this.#inWork.push(compressed);
    if (this.#inWork.length >= BLOCKS_AT_ONCE) await this.#append(await (this.#inWork.shift() as Promise<Buffer>));
    this.#block = this.#freeBlocks.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
    this.#filled = 0;
  }

  async #flush(): Promise<void> {
    if (this.#filled > 0) await this.#endBlock();
    for (let next = this.#inWork.shift(); next; next = this.#inWork.shift()) await this.#append(await next);
  }

  async #append(bytes: Buffer): Promise<void> {
    await writeAll(this.#file, bytes, this.#offset);
    this.#offset += bytes.length;
  }
}

async function compressBlock(block: Buffer): Promise<Buffer> {
  const sample = block.subarray(0, SAMPLE_BYTES);
  const isDense = (await compress(sample, { level: constants.Z_BEST_SPEED })).length > sample.length * WORTH_IT;
  return compress(block, { level: isDense ? constants.Z_NO_COMPRESSION : LEVEL, chunkSize: OUTPUT_CHUNK });
}

/** A write may take less than it is given. */
export async function writeAll(file: FileHandle, bytes: Uint8Array, position: number | null): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const at = position === null ? null : position + done;
    done += (await file.write(bytes, done, bytes.length - done, at)).bytesWritten;
  }
}
