import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";
import { extract, type Header } from "tar-stream";
import { runCommand } from "../../src/lite/command.ts";

export interface ArchiveEntry {
  header: Header;
  /** The first bytes of its content. */
  head: Buffer;
}

const HEAD_BYTES = 16;

/** What a tar.gz holds, by name. */
export async function entriesOf(archive: string): Promise<Map<string, ArchiveEntry>> {
  const entries = new Map<string, ArchiveEntry>();
  const reader = extract();
  createReadStream(archive).pipe(createGunzip()).pipe(reader);
  for await (const entry of reader) {
    let head = Buffer.alloc(0);
    for await (const chunk of entry as AsyncIterable<Buffer>) {
      if (head.length < HEAD_BYTES) head = Buffer.concat([head, chunk.subarray(0, HEAD_BYTES - head.length)]);
    }
    entries.set(entry.header.name, { header: entry.header, head });
  }
  return entries;
}

/** Unpacks with the system's tar, as install.sh does. */
export async function unpack(archive: string, folder: string): Promise<void> {
  const { code, output } = await runCommand(["tar", "-xzf", archive, "-C", folder]);
  if (code !== 0) throw new Error(output);
}
