import { createHash } from "node:crypto";
import { archiveBytes, type ReadOptions } from "./archive-input.ts";
import { isEntryName, nameToBytes, parentOf, refuseEntry } from "../kit/tar/entry-name.ts";
import { extractEntries } from "./extract.ts";
import { MANIFEST, parseManifest, type BackupManifest, type ManifestEntry } from "./manifest.ts";
import { damageError, readTar, type TarEntry } from "../kit/tar/tar-reader.ts";
import { UserError } from "../kit/user-error.ts";

export { isEncryptedArchive } from "./archive-input.ts";

/** An archive of a million files has a manifest of about 150 MB. */
const LARGEST_MANIFEST = 512 * 1024 * 1024;

/** What a sound archive holds. */
export interface VerifiedArchive {
  manifest: BackupManifest;
  /** Of all files and links when they are unpacked. */
  totalBytes: number;
  /** Of datastore.sql. */
  datastoreBytes: number;
  /** Files and links below workspace/. */
  workspaceFiles: number;
  /** Whether there are entries of this kind at all; a snapshot before an upgrade has no workspace. */
  has: { config: boolean; setup: boolean; workspace: boolean; versions: boolean };
}

/**
 * Reads a whole archive without writing anything: every entry is of a kind, has a name and has the bytes that the manifest says,
 * and none is missing. Throws UserError where it is not so.
 */
export async function verifyArchive(file: string, options: ReadOptions = {}): Promise<VerifiedArchive> {
  const seen = new Map<string, ManifestEntry>();
  const checker = new EntryChecker();
  let manifest: BackupManifest | undefined;
  // Kept back until the manifest is read: a file that is no backup, or one of a later kind, is to be called so.
  let problem: UserError | undefined;
  for await (const entry of readTar(archiveBytes(file, options))) {
    if (entry.name === MANIFEST && entry.type === "file") {
      if (manifest) refuseEntry(MANIFEST, "comes twice");
      manifest = parseManifest((await readWhole(entry)).toString("utf8"));
      continue;
    }
    if (problem) continue;
    try {
      if (manifest) refuseEntry(entry.name, "comes after the manifest");
      checker.check(entry);
      seen.set(entry.name, await digest(entry));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      problem = error;
    }
  }
  if (!manifest) {
    throw new UserError("archive has no MANIFEST.json; is this a leoflow backup?", {
      fix: "name a file that `leoflow lite backup` wrote",
    });
  }
  if (problem) throw problem;
  compare(manifest, seen);
  if (!seen.has("datastore.sql")) {
    throw new UserError("archive has no datastore.sql; cannot restore datastore", { fix: "use another backup" });
  }
  const files = [...seen].filter(([name]) => !name.endsWith("/"));
  return {
    manifest,
    totalBytes: files.reduce((sum, [, { size }]) => sum + size, 0),
    datastoreBytes: seen.get("datastore.sql")?.size ?? 0,
    workspaceFiles: files.filter(([name]) => name.startsWith("workspace/")).length,
    has: {
      config: seen.has("config.yaml"),
      setup: seen.has("setup.json"),
      workspace: seen.has("workspace/"),
      versions: seen.has("versions/"),
    },
  };
}

export interface ExtractOptions extends ReadOptions {
  /** Of a `verifyArchive` before; without it the archive is verified first. Nothing that it does not list is written. */
  manifest?: BackupManifest | undefined;
  /** Which entries to write, by their name in the archive; folders end in a slash. All are checked. */
  only?: ((name: string) => boolean) | undefined;
}

/**
 * Writes an archive's entries into an empty folder and flushes them to the disk: modes, times, links as links. Checked against
 * the manifest again while it writes. Throws UserError and may leave a part: the folder is for the caller to remove.
 */
export async function extractArchive(file: string, folder: string, options: ExtractOptions = {}): Promise<void> {
  const manifest = options.manifest ?? (await verifyArchive(file, options)).manifest;
  await extractEntries(archiveEntries(file, manifest, options), folder, options);
}

/** An archive's entries, all but the manifest; each content ends in an error where it is not what the manifest says. */
export async function* archiveEntries(
  file: string,
  manifest: BackupManifest,
  options: ReadOptions,
): AsyncGenerator<TarEntry> {
  const checker = new EntryChecker();
  const seen = new Map<string, ManifestEntry>();
  for await (const entry of readTar(archiveBytes(file, options))) {
    if (entry.name === MANIFEST) continue;
    checker.check(entry);
    const expected = manifest.entries[entry.name] ?? refuseEntry(entry.name, "is not in its manifest");
    if (entry.type === "file" && entry.size !== expected.size) mismatch(entry.name);
    const hash = createHash("sha256");
    if (entry.type === "symlink") hash.update(nameToBytes(entry.target ?? ""));
    const content = entry.content();
    yield {
      ...entry,
      async *content() {
        for await (const chunk of content) {
          hash.update(chunk);
          yield chunk;
        }
      },
    };
    for await (const chunk of content) hash.update(chunk);
    if (hash.digest("hex") !== expected.sha256) mismatch(entry.name);
    seen.set(entry.name, expected);
  }
  compare(manifest, seen);
}

/** Names, kinds and order: each entry stands in a folder that came before it, and none comes twice or leads outside. */
class EntryChecker {
  readonly #seen = new Set<string>();

  check({ name, type, size }: TarEntry): void {
    if (!isEntryName(name)) refuseEntry(name, "is not a name that a backup may hold");
    if (type === "other") refuseEntry(name, "is neither file, folder nor symbolic link");
    if ((type === "directory") !== name.endsWith("/")) refuseEntry(name, "has a name of another kind");
    if (type !== "file" && size > 0) refuseEntry(name, "has content though it is no file");
    if (type !== "file" && !name.includes("/")) refuseEntry(name, "is not a file");
    const bare = name.replace(/\/$/, "");
    if (this.#seen.has(bare) || this.#seen.has(`${bare}/`)) refuseEntry(name, "comes twice");
    const parent = parentOf(name);
    // A folder's entry, not a link's: nothing can be written through a link.
    if (parent !== undefined && !this.#seen.has(parent)) refuseEntry(name, "comes before its folder");
    this.#seen.add(name);
  }
}

function compare(manifest: BackupManifest, seen: Map<string, ManifestEntry>): void {
  for (const [name, { sha256, size }] of seen) {
    const expected = manifest.entries[name] ?? refuseEntry(name, "is not in its manifest");
    if (expected.size !== size || expected.sha256 !== sha256) mismatch(name);
  }
  for (const name of Object.keys(manifest.entries)) if (!seen.has(name)) refuseEntry(name, "is missing");
}

function mismatch(name: string): never {
  throw damageError(`${JSON.stringify(name)} is not what the manifest says (SHA-256)`);
}

async function digest(entry: TarEntry): Promise<ManifestEntry> {
  const hash = createHash("sha256");
  if (entry.type === "symlink") {
    const target = nameToBytes(entry.target ?? "");
    return { sha256: hash.update(target).digest("hex"), size: target.length };
  }
  for await (const chunk of entry.content()) hash.update(chunk);
  return { sha256: hash.digest("hex"), size: entry.size };
}

async function readWhole(entry: TarEntry): Promise<Buffer> {
  if (entry.size > LARGEST_MANIFEST) throw damageError("its manifest is too large");
  const chunks: Buffer[] = [];
  for await (const chunk of entry.content()) chunks.push(chunk);
  return Buffer.concat(chunks);
}
