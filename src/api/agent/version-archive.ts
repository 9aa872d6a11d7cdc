import { constants } from "node:fs";
import { open, readFile, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { createGzip, type Gzip } from "node:zlib";
import { BLOCK, encodeHeader, padding } from "../../kit/tar/tar-format.ts";

/** Lies beside a version's files; names what is its own, the rest are links to this machine's workspace. */
const MANIFEST = ".leoflow-version.json";

/**
 * A DAG version's files as a gzipped tar archive, the same bytes each time: its manifest, and what that names, by path. null when there is
 * no such version any more.
 */
export async function versionArchive(versionsDir: string, digest: string): Promise<Gzip | null> {
  const folder = join(versionsDir, digest);
  const manifest = await readFile(join(folder, MANIFEST)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (manifest === null) return null;
  const { pinned } = JSON.parse(manifest.toString("utf8")) as { pinned: [string, string][] };
  const paths = pinned.map(([path]) => path).sort();
  const packed = createGzip();
  Readable.from(entries(folder, manifest, paths))
    .on("error", (error) => packed.destroy(error))
    .pipe(packed);
  return packed;
}

async function* entries(folder: string, manifest: Buffer, paths: readonly string[]): AsyncGenerator<Buffer> {
  yield* entry(MANIFEST, manifest.length, Readable.from([manifest]));
  for (const path of paths) {
    // Not through a link: what a version holds are files.
    const file: FileHandle = await open(join(folder, path), constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      const { size } = await file.stat();
      yield* entry(path, size, file.createReadStream({ autoClose: false, start: 0 }));
    } finally {
      await file.close();
    }
  }
  yield Buffer.alloc(2 * BLOCK);
}

async function* entry(name: string, size: number, content: AsyncIterable<unknown>): AsyncGenerator<Buffer> {
  yield encodeHeader({ name, type: "file", mode: 0o444, mtimeUs: 0, size });
  let written = 0;
  for await (const piece of content as AsyncIterable<Buffer>) {
    written += piece.length;
    yield piece;
  }
  if (written !== size) throw new Error(`${name} has ${written} bytes and not ${size}`);
  yield padding(size);
}
