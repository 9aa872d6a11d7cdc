import { UserError } from "../user-error.ts";
import { BLOCK, decodeBlock, decodePax, entryOf, type EntryHeader, type EntryType } from "./tar-format.ts";

/** One entry while the reader stands on it. */
export interface TarEntry extends Omit<EntryHeader, "type"> {
  /** "other": a hard link, a device, a kind of its own. */
  type: EntryType | "other";
  /** To be read before the next entry, or it is skipped. */
  content(): AsyncGenerator<Buffer>;
}

/** Long names and pax records are small; more is damage. */
const LARGEST_EXTENSION = 1024 * 1024;
const NOTHING = Buffer.alloc(0);

/** The entries of a tar file, read in one pass in bounded memory. Throws UserError where the bytes are no tar file. */
export async function* readTar(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry> {
  const source = new ByteSource(chunks);
  try {
    let pax = new Map<string, Buffer>();
    for (;;) {
      const block = await source.take(BLOCK);
      if (block.every((byte) => byte === 0)) break;
      const raw = decodeBlock(block) ?? damaged("a header does not add up");
      if ("xgLK".includes(raw.flag)) {
        if (raw.size > LARGEST_EXTENSION) damaged("a header is too large");
        const bytes = await source.take(raw.size);
        await source.skip(tail(raw.size));
        if (raw.flag === "L") pax.set("path", untilNull(bytes));
        else if (raw.flag === "K") pax.set("linkpath", untilNull(bytes));
        else if (raw.flag === "x") {
          pax = new Map([...pax, ...(decodePax(bytes) ?? damaged("a header's records are broken"))]);
        }
        continue;
      }
      const entry = entryOf(raw, pax) ?? damaged("a header makes no sense");
      pax = new Map();
      let left = entry.size;
      const content = async function* () {
        while (left > 0) {
          const chunk = await source.takeSome(left);
          left -= chunk.length;
          yield chunk;
        }
      };
      yield { ...entry, content };
      await source.skip(left + tail(entry.size));
      left = 0;
    }
    for (let rest = await source.rest(); rest; rest = await source.rest()) {
      if (rest.some((byte) => byte !== 0)) damaged("something follows its end");
    }
  } finally {
    await source.close();
  }
}

const tail = (size: number) => (BLOCK - (size % BLOCK)) % BLOCK;

function untilNull(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}

function damaged(how: string): never {
  throw damageError(how);
}

/** The bytes are not what was written. */
export function damageError(how: string, cause?: unknown): UserError {
  return new UserError(`the archive is damaged: ${how}`, {
    fix: "copy it again from where it was made, or use another backup; nothing was changed",
    cause,
  });
}

class ByteSource {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #current: Buffer = NOTHING;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async #fill(): Promise<boolean> {
    while (this.#current.length === 0) {
      const next = await this.#chunks.next();
      if (next.done) return false;
      this.#current = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
    }
    return true;
  }

  /** At most `limit` bytes, at least one. */
  async takeSome(limit: number): Promise<Buffer> {
    if (!(await this.#fill())) damaged("it ends too early");
    const taken = this.#current.subarray(0, limit);
    this.#current = this.#current.subarray(taken.length);
    return taken;
  }

  async take(size: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let left = size; left > 0;) {
      const part = await this.takeSome(left);
      parts.push(part);
      left -= part.length;
    }
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
  }

  async skip(size: number): Promise<void> {
    for (let left = size; left > 0;) left -= (await this.takeSome(left)).length;
  }

  /** What is there next, however much; undefined at the end. */
  async rest(): Promise<Buffer | undefined> {
    if (!(await this.#fill())) return undefined;
    const rest = this.#current;
    this.#current = NOTHING;
    return rest;
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
