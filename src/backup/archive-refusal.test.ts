import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { gunzipSync, gzipSync } from "node:zlib";
import { Encrypter } from "age-encryption";
import { pack, type Header } from "tar-stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UserError } from "../kit/user-error.ts";
import { extractArchive, verifyArchive } from "./archive.ts";
import { MANIFEST, type BackupManifest, type ManifestEntry } from "./manifest.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-archive-"));
  mkdirSync(join(folder, "out"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

type Entry = Partial<Header> & { name: string; content?: string };

const GOOD: Entry[] = [
  { name: "config.yaml", content: "lite_port: 8088\n" },
  { name: "datastore.sql", content: "select 1;\n".repeat(200) },
  { name: "workspace/", type: "directory" },
  { name: "workspace/dag.py", content: "print('hello')\n", mode: 0o755 },
  { name: "workspace/link", type: "symlink", linkname: "dag.py" },
];

/** Archives that our writer would never write; made by another implementation. */
async function tar(entries: Entry[], manifest?: object | string | null): Promise<Buffer> {
  const stream = pack();
  for (const { content = "", ...header } of entries) {
    // A link to nothing waits for its target otherwise.
    stream.entry({ mode: 0o644, mtime: new Date(0), ...header }, content);
  }
  if (manifest !== null) {
    const text = typeof manifest === "string" ? manifest : JSON.stringify(manifest ?? manifestOf(entries));
    stream.entry({ name: MANIFEST }, text);
  }
  stream.finalize();
  return buffer(stream);
}

function manifestOf(entries: Entry[], changes: Partial<BackupManifest> = {}): BackupManifest {
  const listed = entries.map(({ name, type, content = "", linkname }): [string, ManifestEntry] => {
    const bytes = Buffer.from(type === "symlink" ? (linkname ?? "") : content);
    return [name, { sha256: createHash("sha256").update(bytes).digest("hex"), size: bytes.length }];
  });
  return {
    ...{ manifest_version: 1, leoflow_version: "0.1.0", schema_version: 1, created_at: "2026-01-01T00:00:00Z" },
    ...{ home: "/home/x/.leoflow", workspace: "/home/x/leoflow", entries: Object.fromEntries(listed), ...changes },
  };
}

function save(bytes: Uint8Array): string {
  const file = join(folder, "archive.tar.gz");
  writeFileSync(file, bytes);
  return file;
}

async function saved(entries: Entry[], manifest?: object | string | null): Promise<string> {
  return save(gzipSync(await tar(entries, manifest)));
}

/** Both ways of reading refuse it alike, in words for a user, and nothing is written outside. */
async function refused(file: string): Promise<string> {
  const error: unknown = await verifyArchive(file).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(UserError);
  await expect(extractArchive(file, join(folder, "out"))).rejects.toThrow(UserError);
  expect(readdirSync(join(folder, "out"))).toEqual([]);
  expect(readdirSync(folder).sort()).toEqual(["archive.tar.gz", "out"]);
  return (error as UserError).message;
}

describe("a sound archive of another tar program", () => {
  it("is read", async () => {
    const file = await saved(GOOD);
    const verified = await verifyArchive(file);
    expect(verified).toMatchObject({ workspaceFiles: 2, datastoreBytes: 2000, totalBytes: 2000 + 16 + 15 + 6 });
    await extractArchive(file, join(folder, "out"), { only: (name) => name.startsWith("workspace/") });
    expect(readdirSync(join(folder, "out"))).toEqual(["workspace"]);
  });

  it("may have entries of long names in both ways that there are", async () => {
    const long = `workspace/${"d".repeat(150)}`;
    const entries = [
      ...GOOD,
      { name: `${long}/`, type: "directory" as const },
      { name: `${long}/${"f".repeat(200)}.py` },
    ];
    await verifyArchive(await saved(entries));
  });
});

describe("refuses", () => {
  it.each([
    ["no manifest", GOOD, null, "archive has no MANIFEST.json; is this a leoflow backup?"],
    [
      "somebody's tar file",
      [{ name: "src/main.c", content: "int" }],
      null,
      "archive has no MANIFEST.json; is this a leoflow backup?",
    ],
    ["an empty tar file", [], null, "archive has no MANIFEST.json; is this a leoflow backup?"],
    [
      "manifest_version 0",
      GOOD,
      manifestOf(GOOD, { manifest_version: 0 }),
      "backup manifest has no manifest_version field; archive is corrupt or pre-v1",
    ],
    [
      "no manifest_version",
      GOOD,
      { entries: {} },
      "backup manifest has no manifest_version field; archive is corrupt or pre-v1",
    ],
    [
      "a later manifest_version",
      [{ name: "new-kind.bin" }],
      { manifest_version: 2 },
      "backup manifest_version 2 is newer than this binary supports (1); upgrade leoflow",
    ],
    ["a manifest that is no JSON", GOOD, "{", "the archive's MANIFEST.json cannot be read: it is not JSON"],
    [
      "a manifest without entries",
      GOOD,
      { ...manifestOf(GOOD), entries: undefined },
      "the archive's MANIFEST.json cannot be read: its entries is missing or wrong",
    ],
    ["no datastore.sql", GOOD.slice(0, 1), undefined, "archive has no datastore.sql; cannot restore datastore"],
  ])("%s", async (_what, entries: Entry[], manifest, message) => {
    expect(await refused(await saved(entries, manifest))).toBe(message);
  });

  it.each<[string, Entry[], string]>([
    [
      "a way out",
      [{ name: "workspace/../../evil", content: "x" }],
      '"workspace/../../evil" is not a name that a backup may hold',
    ],
    ["a way out of a way in", [{ name: "workspace/a/../../evil" }], "is not a name"],
    ["an absolute name", [{ name: "/tmp/leoflow-evil", content: "x" }], "is not a name"],
    ["a name that is the tree itself", [{ name: "versions", content: "x" }], "is not a name"],
    ["a dot", [{ name: "workspace/./x" }], "is not a name"],
    ["an empty part", [{ name: "workspace//x" }], "is not a name"],
    ["another top", [{ name: "managed-postgres/password" }], "is not a name"],
    [
      "a file through a link",
      [
        { name: "workspace/out", type: "symlink", linkname: "/tmp" },
        { name: "workspace/out/evil", content: "x" },
      ],
      "comes before its folder",
    ],
    ["a folder where a link is", [{ name: "workspace/link/", type: "directory" }], "comes twice"],
    ["a file where a link is", [{ name: "workspace/link", content: "x" }], "comes twice"],
    ["a name that comes twice", [{ name: "workspace/dag.py", content: "x" }], "comes twice"],
    ["a file that is a folder", [{ name: "workspace/dag.py/", type: "directory" }], "comes twice"],
    [
      "a hard link",
      [{ name: "workspace/hard", type: "link", linkname: "/etc/passwd" }],
      "is neither file, folder nor symbolic link",
    ],
    ["a device", [{ name: "workspace/null", type: "character-device", devmajor: 1, devminor: 3 }], "is neither"],
    ["a disk", [{ name: "workspace/sda", type: "block-device" }], "is neither"],
    ["a named pipe", [{ name: "workspace/pipe", type: "fifo" }], "is neither"],
    ["a setting that is a link", [{ name: "setup.json", type: "symlink", linkname: "/etc/passwd" }], "is not a file"],
    ["a setting that is a folder", [{ name: "setup.json/", type: "directory" }], "is not a name"],
    ["a control character", [{ name: "../\u001b[2J" }], "../\\\\x1b[2J"],
  ])("%s", async (_what, bad, message) => {
    const entries = [...GOOD, ...bad];
    expect(await refused(await saved(entries))).toContain(message);
    // Also with a manifest that was verified before the file was exchanged.
    const attempt = extractArchive(await saved(entries), join(folder, "out"), { manifest: manifestOf(entries) });
    await expect(attempt).rejects.toThrow(UserError);
    expect(existsSync("/tmp/leoflow-evil") || existsSync("/tmp/evil")).toBe(false);
    expect(readdirSync(folder).sort()).toEqual(["archive.tar.gz", "out"]);
  });

  it("entries that the manifest does not name, and names without an entry", async () => {
    expect(await refused(await saved(GOOD, manifestOf(GOOD.slice(0, 4))))).toContain(
      '"workspace/link" is not in its manifest',
    );
    expect(await refused(await saved(GOOD.slice(0, 4), manifestOf(GOOD)))).toContain('"workspace/link" is missing');
    const text = JSON.stringify(manifestOf(GOOD)).replace(
      '"entries":{',
      `"entries":{"__proto__":{"sha256":"${"0".repeat(64)}","size":0},`,
    );
    expect(await refused(await saved(GOOD, text))).toContain('"__proto__" is missing');
  });

  it("content, sizes and targets that are not what the manifest says", async () => {
    const change = (index: number, changes: Partial<Entry>) =>
      GOOD.map((each, at) => (at === index ? { ...each, ...changes } : each));
    for (const entries of [
      change(3, { content: "print('HELLO')\n" }),
      change(3, { content: "" }),
      change(4, { linkname: "/etc" }),
    ]) {
      expect(await refused(await saved(entries, manifestOf(GOOD)))).toMatch(
        /^the archive is damaged: "workspace\/\w+(\.py)?" is not/,
      );
    }
  });

  it("what comes after the manifest, and a second manifest", async () => {
    const manifest = { name: MANIFEST, content: JSON.stringify(manifestOf(GOOD)) };
    expect(await refused(await saved([...GOOD, manifest, { name: "workspace/late" }], null))).toContain(
      "comes after the manifest",
    );
    expect(await refused(await saved([...GOOD, manifest], manifestOf(GOOD)))).toContain("comes twice");
  });

  it("other files", async () => {
    expect(await refused(save(Buffer.from("hello")))).toMatch(/is not a leoflow backup: it is not a \.tar\.gz file$/);
    expect(await refused(save(Buffer.alloc(0)))).toMatch(/is not a leoflow backup/);
    expect(await refused(save(gzipSync("hello")))).toBe("the archive is damaged: it ends too early");
    expect(await refused(save(gzipSync(Buffer.alloc(5000, 7))))).toBe(
      "the archive is damaged: a header does not add up",
    );
    await expect(verifyArchive(join(folder, "none"))).rejects.toThrow(/^cannot read .*none: ENOENT/);
    await expect(verifyArchive(folder)).rejects.toThrow(UserError);
  });

  it("a bomb, without writing it or keeping it", async () => {
    // 400 MB of zeros in 400 KB, as a file that the manifest says has 3 bytes.
    const head = (await tar([...GOOD, { name: "workspace/bomb", content: "abc" }], null)).subarray(0, -1024 - 1024);
    const header = Buffer.from((await tar([{ name: "workspace/bomb", content: "abc" }], null)).subarray(0, 512));
    header.write((400 * 1024 * 1024).toString(8).padStart(11, "0"), 124);
    header.fill(" ", 148, 156);
    header.write(
      `${header
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, "0")}\0 `,
      148,
    );
    const zeros = gzipSync(Buffer.alloc(16 * 1024 * 1024));
    const entries = [...GOOD, { name: "workspace/bomb", content: "abc" }];
    const file = save(
      Buffer.concat([
        ...[gzipSync(head), gzipSync(header), ...Array.from({ length: 25 }, () => zeros)],
        gzipSync(await tar([], manifestOf(entries))),
      ]),
    );
    const before = process.memoryUsage().rss;
    await expect(extractArchive(file, join(folder, "out"), { manifest: manifestOf(entries) })).rejects.toThrow(
      '"workspace/bomb" is not what the manifest says',
    );
    await expect(verifyArchive(file)).rejects.toThrow('"workspace/bomb" is not what the manifest says');
    expect(process.memoryUsage().rss - before).toBeLessThan(150e6);
  });
});

describe("damage", () => {
  it("cut off anywhere", async () => {
    const bytes = gzipSync(await tar(GOOD));
    const plain = gunzipSync(bytes);
    const manifest = manifestOf(GOOD);
    for (let at = 0; at < bytes.length; at += 23)
      await isRefusedOrSame(bytes.subarray(0, at), manifest, { mayPass: false });
    // Cut before it was packed: the gzip file is sound.
    for (let at = 0; at < plain.length - 1024; at += 256) {
      await isRefusedOrSame(gzipSync(plain.subarray(0, at)), manifest, { mayPass: false });
    }
  });

  it("a flipped bit anywhere, packed or not", async () => {
    const bytes = gzipSync(await tar(GOOD));
    const plain = gunzipSync(bytes);
    const manifest = manifestOf(GOOD);
    let passed = 0;
    for (let at = 0; at < bytes.length; at += 5) passed += await isRefusedOrSame(flipped(bytes, at), manifest);
    // The gzip header has a time and the like that mean nothing.
    expect(passed).toBeLessThan(6);
    for (let at = 0; at < plain.length; at += 67) await isRefusedOrSame(gzipSync(flipped(plain, at)), manifest);
  });

  it("a flipped bit anywhere in an encrypted one", async () => {
    const encrypter = new Encrypter();
    encrypter.setPassphrase("x");
    encrypter.setScryptWorkFactor(2);
    const bytes = Buffer.from(await encrypter.encrypt(gzipSync(await tar(GOOD))));
    const options = { passphrase: "x", mayPass: false };
    expect(await isRefusedOrSame(bytes, manifestOf(GOOD), { passphrase: "x" })).toBe(1);
    for (let at = 0; at < bytes.length; at += 11) await isRefusedOrSame(flipped(bytes, at), manifestOf(GOOD), options);
    for (let at = 0; at < bytes.length; at += 29) {
      await isRefusedOrSame(bytes.subarray(0, at), manifestOf(GOOD), options);
    }
  });

  it("a folder that is not empty, or has a link in the way, is left alone", async () => {
    const file = await saved(GOOD);
    symlinkSync("/tmp", join(folder, "out/workspace"));
    await expect(extractArchive(file, join(folder, "out"))).rejects.toThrow("is not empty");
    expect(existsSync("/tmp/dag.py")).toBe(false);
  });
});

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] as number) ^ (1 << (at % 8));
  return copy;
}

/** Either a UserError or the same content; 1 where it passed. */
async function isRefusedOrSame(
  bytes: Buffer,
  manifest: BackupManifest,
  { passphrase, mayPass = true }: { passphrase?: string; mayPass?: boolean } = {},
): Promise<number> {
  const file = save(bytes);
  const result = await verifyArchive(file, { passphrase }).catch((error: unknown) => error);
  // Also where nobody looked before.
  const out = join(folder, "out");
  const written = await extractArchive(file, out, { passphrase, manifest }).catch((error: unknown) => error);
  expect(readdirSync(folder).sort()).toEqual(["archive.tar.gz", "out"]);
  rmSync(out, { recursive: true });
  mkdirSync(out);
  if (!(result instanceof Error) && mayPass) {
    expect(written).toBeUndefined();
    expect((result as { manifest: BackupManifest }).manifest.entries).toEqual(manifest.entries);
    return 1;
  }
  expect(result).toBeInstanceOf(UserError);
  return 0;
}
