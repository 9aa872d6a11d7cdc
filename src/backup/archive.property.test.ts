import { execFileSync } from "node:child_process";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import { ArchiveOutput } from "./archive-output.ts";
import { ArchiveWriter } from "./archive-writer.ts";
import { extractArchive, verifyArchive } from "./archive.ts";
import { nameFromBytes, nameToBytes, shownName } from "../kit/tar/entry-name.ts";
import { decodePax, decodeBlock, encodeHeader } from "../kit/tar/tar-format.ts";
import { addTree } from "./tree-entries.ts";

type Node =
  | { kind: "file"; content: Uint8Array; repeat: number; mode: number; mtime: number }
  | { kind: "link"; target: Buffer }
  | { kind: "folder"; mode: number; children: [Buffer, Node][] };

// Any byte but NUL and the slash; long ones, dots, blanks, newlines and what is not UTF-8 among them.
const name = fc
  .oneof(
    {
      weight: 4,
      arbitrary: fc.string({ unit: "binary", minLength: 1, maxLength: 12 }).map((text) => Buffer.from(text)),
    },
    { weight: 2, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 12 }).map((bytes) => Buffer.from(bytes)) },
    { weight: 1, arbitrary: fc.integer({ min: 90, max: 255 }).map((length) => Buffer.alloc(length, "n")) },
  )
  .map((bytes) => Buffer.from(bytes.filter((byte) => byte !== 0 && byte !== 0x2f)).subarray(0, 255))
  .filter((bytes) => bytes.length > 0 && ![".", ".."].includes(bytes.toString("latin1")))
  .filter((bytes) => !/^(\.git|venv)$/.test(bytes.toString("latin1")));
const mode = fc.integer({ min: 0, max: 0o777 }).map((bits) => bits | 0o400);
const { tree } = fc.letrec<{ tree: Node; folder: Node }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.record({
      kind: fc.constant("file" as const),
      content: fc.uint8Array({ maxLength: 700 }),
      repeat: fc.constantFrom(0, 1, 1, 1, 2, 3000),
      mode,
      mtime: fc.integer({ min: 0, max: 4e9 }).map((at) => at + 0.25),
    }),
    fc.record({
      kind: fc.constant("link" as const),
      target: fc
        .array(name, { minLength: 1, maxLength: 3 })
        .map((parts) => Buffer.from(parts.map((part) => part.toString("latin1")).join("/"), "latin1")),
    }),
    tie("folder"),
  ),
  folder: fc.record({
    kind: fc.constant("folder" as const),
    mode: mode.map((bits) => bits | 0o500),
    children: fc.uniqueArray(fc.tuple(name, tie("tree")), {
      maxLength: 6,
      selector: ([key]) => key.toString("latin1"),
    }),
  }),
}));

function make(path: Buffer, node: Node): void {
  if (node.kind === "link") symlinkSync(node.target, path);
  else if (node.kind === "file") {
    writeFileSync(path, Buffer.concat(Array.from({ length: node.repeat }, () => node.content)));
    chmodSync(path, node.mode);
    utimesSync(path, node.mtime, node.mtime);
  } else {
    mkdirSync(path);
    for (const [key, child] of node.children) make(Buffer.concat([path, Buffer.from("/"), key]), child);
    chmodSync(path, node.mode);
  }
}

/** Everything about a tree, to be compared. Node sets times as a double of seconds: a microsecond may be lost. */
function describeTree(path: Buffer, time: (ms: number) => unknown = (ms) => ms): unknown {
  const stats = lstatSync(path);
  const bits = stats.mode;
  const mtimeMs = time(stats.mtimeMs);
  if (stats.isSymbolicLink()) return { target: readlinkSync(path, "buffer").toString("hex"), mtimeMs };
  if (stats.isFile()) return { content: readFileSync(path).toString("base64"), bits, mtimeMs };
  const children = readdirSync(path, "buffer").sort((a, b) => Buffer.compare(a, b));
  return {
    ...{ bits, mtimeMs },
    children: children.map((key) => [
      key.toString("hex"),
      describeTree(Buffer.concat([path, Buffer.from("/"), key]), time),
    ]),
  };
}

it("any tree of files comes back as it was, also through GNU tar", { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(tree, async (node) => {
      const folder = mkdtempSync(join(tmpdir(), "leoflow-tree-"));
      try {
        mkdirSync(join(folder, "workspace"));
        make(Buffer.from(join(folder, "workspace/x")), node);
        const file = join(folder, "archive.tar.gz");
        await writeArchive(file, join(folder, "workspace"));
        await verifyArchive(file);
        mkdirSync(join(folder, "ours"));
        await extractArchive(file, join(folder, "ours"));
        mkdirSync(join(folder, "gnu"));
        execFileSync("tar", ["-xpzf", file, "-C", join(folder, "gnu")], { stdio: "ignore" });
        const expected = describeTree(Buffer.from(join(folder, "workspace")), (ms): unknown => expect.closeTo(ms, 1));
        expect(describeTree(Buffer.from(join(folder, "ours/workspace")))).toEqual(expected);
        expect(describeTree(Buffer.from(join(folder, "gnu/workspace")))).toEqual(expected);
      } finally {
        execFileSync("chmod", ["-R", "u+rwX", folder], { stdio: "ignore" });
        rmSync(folder, { recursive: true, force: true });
      }
    }),
    { numRuns: 30 },
  );
});

it("a name of any bytes survives as text and as JSON", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const text = nameFromBytes(Buffer.from(bytes));
      expect(nameToBytes(JSON.parse(JSON.stringify(text)) as string).equals(Buffer.from(bytes))).toBe(true);
      expect(shownName(text)).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
    }),
  );
});

it("headers that are damaged are never an exception", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 512, maxLength: 512 }), fc.uint8Array({ maxLength: 200 }), (block, pax) => {
      decodeBlock(Buffer.from(block));
      decodePax(Buffer.from(pax));
    }),
  );
});

it("sizes from nothing to a petabyte are in a header of one block", () => {
  fc.assert(
    fc.property(fc.oneof(fc.integer({ min: 0, max: 1e15 }), fc.constantFrom(8 ** 11 - 1, 8 ** 11)), (size) => {
      const block = encodeHeader({ name: "datastore.sql", type: "file", mode: 0o600, mtimeUs: 1e15, size });
      expect(block.length).toBe(512);
      expect(decodeBlock(block)).toMatchObject({ size, mode: 0o600, mtime: 1e9, flag: "0" });
    }),
  );
});

async function writeArchive(file: string, workspace: string): Promise<void> {
  const output = await ArchiveOutput.create(file);
  const writer = new ArchiveWriter(output);
  await writer.file({ name: "datastore.sql", mode: 0o600, mtimeUs: 0 }, Buffer.from("select 1;\n"));
  const fail = (text: string) => expect.fail(text);
  await addTree(
    writer,
    { folder: workspace, as: "workspace", exclude: true, skip: () => false },
    { onWarning: fail, onUnreadable: fail, onBytes: () => undefined },
  );
  await writer.finish(
    { manifest_version: 1, leoflow_version: "0", schema_version: 1, created_at: "2026-01-01T00:00:00Z", home: "/x" },
    0,
  );
  await output.close();
}
