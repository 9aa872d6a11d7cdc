import { createHash } from "node:crypto";
import { mkdir, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { readTar } from "../../kit/tar/tar-reader.ts";
import { UserError } from "../../kit/user-error.ts";
import { PACK_LIMITS, type PackedFile } from "../workspace/project-pack.ts";

export class UnpackRefusal extends Error {
  readonly reason: "damaged" | "too-large" | "in-the-way";

  constructor(reason: UnpackRefusal["reason"], message: string) {
    super(message);
    this.reason = reason;
  }
}

/** Writes a pushed project into an empty folder. Throws UnpackRefusal for all but plain files that stay inside of it. */
export async function unpackProject(chunks: AsyncIterable<Uint8Array>, folder: string): Promise<PackedFile[]> {
  const packed = Readable.from(limited(chunks));
  const gunzip = createGunzip();
  packed.on("error", (error) => gunzip.destroy(error));
  const files: PackedFile[] = [];
  let bytes = 0;
  let entries = 0;
  try {
    for await (const entry of readTar(packed.pipe(gunzip))) {
      if (++entries > 2 * PACK_LIMITS.files) throw tooLarge();
      const path = entry.name.replace(/\/$/, "");
      const isInside =
        !path.includes("\0") && path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
      if (!isInside) throw new UnpackRefusal("damaged", `${JSON.stringify(entry.name)} leads out of the project.`);
      if (entry.type === "directory") continue;
      if (entry.type !== "file") throw new UnpackRefusal("damaged", `${path} is neither a file nor a folder.`);
      bytes += entry.size;
      if (files.length >= PACK_LIMITS.files || bytes > PACK_LIMITS.bytes) throw tooLarge();
      const executable = (entry.mode & 0o100) !== 0;
      await mkdir(dirname(join(folder, path)), { recursive: true });
      const file = await open(join(folder, path), "wx", executable ? 0o755 : 0o644);
      const hash = createHash("sha256");
      try {
        for await (const chunk of entry.content()) {
          hash.update(chunk);
          await file.writeFile(chunk);
        }
      } finally {
        await file.close();
      }
      files.push({ path, sha256: hash.digest("hex"), executable });
    }
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (error instanceof UserError || code.startsWith("Z_") || ["EEXIST", "ENOTDIR", "EISDIR"].includes(code)) {
      throw new UnpackRefusal("damaged", `This is no packed project: ${(error as Error).message}.`);
    }
    throw error;
  }
  return files;
}

async function* limited(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    if (bytes > PACK_LIMITS.packedBytes) throw tooLarge();
    yield chunk;
  }
}

function tooLarge(): UnpackRefusal {
  const { files, bytes, packedBytes } = PACK_LIMITS;
  const mb = (count: number) => `${count / 1024 / 1024} MB`;
  return new UnpackRefusal(
    "too-large",
    `A project may hold ${files} files and ${mb(bytes)}, packed ${mb(packedBytes)}.`,
  );
}
