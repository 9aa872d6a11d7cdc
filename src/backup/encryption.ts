import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { Readable } from "node:stream";
import { UserError } from "../kit/user-error.ts";
import { writeAll } from "./archive-output.ts";

/** The first bytes of every age file. */
const AGE_MAGIC = "age-encryption.org/";

export function isEncrypted(start: Buffer): boolean {
  return start.toString("latin1").startsWith(AGE_MAGIC);
}

/** Writes `from` to the new file `to` in the age format, which the tool `age -d` reads too. Returns the size. */
export async function encryptFile(
  from: string,
  to: string,
  passphrase: string,
  options: { signal?: AbortSignal | undefined; onBytes?: (bytes: number) => void } = {},
): Promise<number> {
  const { Encrypter } = await import("age-encryption");
  const encrypter = new Encrypter();
  encrypter.setPassphrase(passphrase);
  const output = await open(to, "wx", 0o600);
  try {
    const encrypted = await encrypter.encrypt(webStream(createReadStream(from)));
    let bytes = 0;
    for await (const chunk of encrypted) {
      options.signal?.throwIfAborted();
      await writeAll(output, chunk, null);
      bytes += chunk.length;
      options.onBytes?.(bytes);
    }
    await output.sync();
    return bytes;
  } finally {
    await output.close();
  }
}

/** The plain bytes of an age file. Throws UserError for a wrong passphrase, and in the stream's middle where it is damaged. */
export async function* decrypted(source: Readable, passphrase: string): AsyncGenerator<Uint8Array> {
  const { Decrypter } = await import("age-encryption");
  const decrypter = new Decrypter();
  decrypter.addPassphrase(passphrase);
  let plain: ReadableStream<Uint8Array>;
  try {
    plain = await decrypter.decrypt(webStream(source));
  } catch (error) {
    if (!(error as Error).message.startsWith("no identity matched")) throw error;
    throw new UserError("the passphrase does not open this backup", {
      fix: "run the same command again with the passphrase that the backup was made with",
      cause: error,
    });
  }
  yield* plain;
}

function webStream(source: Readable): ReadableStream<Uint8Array> {
  return Readable.toWeb(source);
}
