import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { formatBytes } from "../kit/bytes.ts";
import { UserError } from "../kit/user-error.ts";
import { decrypted, isEncrypted } from "./encryption.ts";
import { damageError } from "../kit/tar/tar-reader.ts";

export interface ReadOptions {
  passphrase?: string | undefined;
  signal?: AbortSignal | undefined;
  progress?: ((text: string) => void) | undefined;
}

/** Whether a file is encrypted, by how it begins. */
export async function isEncryptedArchive(file: string): Promise<boolean> {
  return isEncrypted((await firstBytes(file)).start);
}

/** An archive's bytes, decrypted and unpacked, in bounded memory. What is wrong with them comes as UserError. */
export async function* archiveBytes(file: string, options: ReadOptions): AsyncGenerator<Buffer> {
  const { start, size } = await firstBytes(file);
  const encrypted = isEncrypted(start);
  if (!encrypted && start.readUInt16BE() !== 0x1f8b) {
    throw new UserError(`${file} is not a leoflow backup: it is not a .tar.gz file`, {
      fix: "name a file that `leoflow lite backup` wrote",
    });
  }
  if (encrypted && !options.passphrase) {
    throw new UserError(`${file} is encrypted, and no passphrase was given`, {
      fix: "run the command on a terminal to be asked for it, or give --passphrase-file or LEOFLOW_BACKUP_PASSPHRASE",
      exitCode: 2,
    });
  }
  const source = createReadStream(file, { highWaterMark: 256 * 1024 });
  let read = 0;
  source.on("data", (chunk) => {
    read += chunk.length;
    options.progress?.(`${formatBytes(read)} of ${formatBytes(size)}`);
  });
  source.pause();
  const plain = encrypted ? Readable.from(decrypted(source, options.passphrase as string)) : source;
  const unpacked = createGunzip({ chunkSize: 256 * 1024 });
  plain.on("error", (error: Error) => unpacked.destroy(error));
  plain.pipe(unpacked);
  try {
    for await (const chunk of unpacked) {
      options.signal?.throwIfAborted();
      yield chunk as Buffer;
    }
  } catch (error) {
    options.signal?.throwIfAborted();
    throw readError(file, error, encrypted);
  } finally {
    unpacked.destroy();
    plain.destroy();
    source.destroy();
  }
}

/** What is thrown where the bytes cannot be read, as a user may see it. */
function readError(file: string, error: unknown, encrypted: boolean): unknown {
  if (error instanceof UserError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "Z_BUF_ERROR") return damageError("it ends too early", error);
  if (code?.startsWith("Z_")) return damageError("it cannot be unpacked", error);
  if ((error as NodeJS.ErrnoException).syscall)
    return new UserError(`cannot read ${file}: ${message}`, { cause: error });
  return encrypted ? damageError("it cannot be decrypted", error) : error;
}

async function firstBytes(file: string): Promise<{ start: Buffer; size: number }> {
  try {
    const handle = await open(file, "r");
    try {
      const { size } = await handle.stat();
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(32), 0, 32, 0);
      // Padded to 32 bytes, so that an empty file reads as one that is no backup.
      return { start: bytesRead ? buffer : Buffer.alloc(32), size };
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new UserError(`cannot read ${file}: ${(error as Error).message}`, {
      fix: "name the file that `leoflow lite backup` wrote",
      cause: error,
    });
  }
}
