import { createHash } from "node:crypto";
import { nameToBytes } from "../kit/tar/entry-name.ts";
import type { ArchiveOutput } from "./archive-output.ts";
import { MANIFEST, type BackupManifest, type ManifestEntry } from "./manifest.ts";
import { BLOCK, encodeHeader, padding, type EntryHeader } from "../kit/tar/tar-format.ts";

type Facts = Pick<EntryHeader, "name" | "mode" | "mtimeUs">;

/** Writes an archive's entries and keeps what the manifest says of them. */
export class ArchiveWriter {
  readonly #output: ArchiveOutput;
  readonly #entries = Object.create(null) as Record<string, ManifestEntry>;

  constructor(output: ArchiveOutput) {
    this.#output = output;
  }

  async folder(facts: Facts): Promise<void> {
    await this.#output.write(encodeHeader({ ...facts, type: "directory", size: 0 }));
    this.#entries[facts.name] = entryFor(Buffer.alloc(0));
  }

  async link(facts: Facts, target: string): Promise<void> {
    await this.#output.write(encodeHeader({ ...facts, type: "symlink", size: 0, target }));
    this.#entries[facts.name] = entryFor(nameToBytes(target));
  }

  async file(facts: Facts, content: Buffer): Promise<void> {
    await this.#output.write(encodeHeader({ ...facts, type: "file", size: content.length }));
    await this.#output.write(content);
    await this.#output.write(padding(content.length));
    this.#entries[facts.name] = entryFor(content);
  }

  /** A file whose content comes in pieces that make up `size`. */
  async largeFile(facts: Facts, size: number, content: AsyncIterable<Buffer>): Promise<void> {
    await this.#output.write(encodeHeader({ ...facts, type: "file", size }));
    const entry = await this.#pour(content);
    if (entry.size !== size) throw new Error(`${facts.name} has ${entry.size} bytes and not ${size}`);
    this.#entries[facts.name] = entry;
  }

  /** A file whose size nobody knows before its end. Its name must be short and plain. */
  async endlessFile(facts: Facts, content: AsyncIterable<Buffer>): Promise<ManifestEntry> {
    const slot = await this.#output.writeSlot(BLOCK);
    const entry = await this.#pour(content);
    await this.#output.fillSlot(slot, encodeHeader({ ...facts, type: "file", size: entry.size }));
    return (this.#entries[facts.name] = entry);
  }

  /** The last entry and the end. Returns the manifest and the file's size. */
  async finish(
    about: Omit<BackupManifest, "entries">,
    mtimeUs: number,
  ): Promise<{ manifest: BackupManifest; bytes: number }> {
    const manifest = { ...about, entries: this.#entries };
    const text = Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`);
    await this.#output.write(encodeHeader({ name: MANIFEST, type: "file", mode: 0o600, mtimeUs, size: text.length }));
    await this.#output.write(text);
    await this.#output.write(padding(text.length));
    await this.#output.write(Buffer.alloc(2 * BLOCK));
    return { manifest, bytes: await this.#output.finish() };
  }

  async #pour(content: AsyncIterable<Buffer>): Promise<ManifestEntry> {
    const hash = createHash("sha256");
    let size = 0;
    for await (const chunk of content) {
      hash.update(chunk);
      size += chunk.length;
      await this.#output.write(chunk);
    }
    await this.#output.write(padding(size));
    return { sha256: hash.digest("hex"), size };
  }
}

/** What a manifest says of these bytes. */
export function entryFor(bytes: Buffer): ManifestEntry {
  return { sha256: createHash("sha256").update(bytes).digest("hex"), size: bytes.length };
}
