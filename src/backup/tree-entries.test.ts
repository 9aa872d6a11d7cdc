import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ArchiveOutput } from "./archive-output.ts";
import { ArchiveWriter } from "./archive-writer.ts";
import { extractArchive } from "./archive.ts";
import { addTree, surveyTree, type TreeReport, type TreeSource } from "./tree-entries.ts";

const MIB = 1024 * 1024;

let folder: string;
let workspace: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-tree-"));
  workspace = join(folder, "workspace");
  mkdirSync(workspace);
  mkdirSync(join(folder, "out"));
  chmodSync(folder, 0o755);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const source = (): TreeSource => ({ folder: workspace, as: "workspace", exclude: true, skip: () => false });

/** Backs the workspace up and unpacks it, which checks that hashes and content agree. Returns warnings. */
async function roundTrip(changes: Partial<TreeReport> = {}): Promise<string[]> {
  const file = join(folder, "archive.tar.gz");
  const output = await ArchiveOutput.create(file);
  const warnings: string[] = [];
  try {
    const writer = new ArchiveWriter(output);
    await writer.file({ name: "datastore.sql", mode: 0o600, mtimeUs: 0 }, Buffer.from(""));
    await addTree(writer, source(), {
      onWarning: (text) => warnings.push(text.replaceAll(workspace, "")),
      onUnreadable: (path, error) => {
        throw new Error(`${path}: ${error.code}`);
      },
      onBytes: () => undefined,
      ...changes,
    });
    const about = { manifest_version: 1, leoflow_version: "0", schema_version: 1, created_at: "", home: "" };
    await writer.finish(about, 0);
  } finally {
    await output.close();
  }
  await extractArchive(file, join(folder, "out"));
  return warnings;
}

const restored = (name: string) => readFileSync(join(folder, "out/workspace", name));

it("leaves out version control, environments and caches at any depth, and nothing else", async () => {
  const excluded = [".git", ".hg", ".svn", ".venv", "venv", "__pycache__", ".pytest_cache", "node_modules", ".tox"];
  for (const name of [...excluded, ".mypy_cache", ".ruff_cache", "kept", ".github", "venvs"]) {
    for (const parent of ["", "a/b/c"]) {
      mkdirSync(join(workspace, parent, name), { recursive: true });
      writeFileSync(join(workspace, parent, name, "file"), name);
    }
  }
  symlinkSync("/opt/venv", join(workspace, "kept/venv"));
  writeFileSync(join(workspace, "kept/.git"), "gitdir: ../elsewhere");
  writeFileSync(join(workspace, "a/venv.py"), "");
  writeFileSync(join(workspace, "a/b/venv2"), "");
  rmSync(join(workspace, "a/b/c/venv"), { recursive: true });
  writeFileSync(join(workspace, "a/b/c/venv"), "a file of that name is a user's own");
  expect(await roundTrip()).toEqual([]);
  const found = readdirSync(join(folder, "out/workspace"), { recursive: true, encoding: "utf8" });
  expect(found.sort()).toEqual(
    [
      ...[".github", ".github/file", "a", "a/b", "a/b/c", "a/b/c/.github", "a/b/c/.github/file", "a/b/c/kept"],
      ...["a/b/c/kept/file", "a/b/c/venv", "a/b/c/venvs", "a/b/c/venvs/file", "a/b/venv2", "a/venv.py", "kept"],
      ...["kept/file", "venvs", "venvs/file"],
    ].sort(),
  );
});

it("follows no link, not even to a folder, but the workspace itself may be one", async () => {
  mkdirSync(join(folder, "outside"));
  writeFileSync(join(folder, "outside/secret"), "x");
  for (const [name, target] of Object.entries({ out: "../outside", up: "..", loop: "loop", gone: "/no/where" })) {
    symlinkSync(target, join(workspace, name));
  }
  renameSync(workspace, join(folder, "real"));
  symlinkSync("real", workspace);
  expect(await roundTrip()).toEqual([]);
  const found = readdirSync(join(folder, "out/workspace"), { withFileTypes: true });
  expect(found.map((entry) => [entry.name, entry.isSymbolicLink()])).toEqual(
    ["gone", "loop", "out", "up"].map((name) => [name, true]),
  );
  expect(readlinkSync(join(folder, "out/workspace/gone"))).toBe("/no/where");
});

it("names sockets and pipes that it leaves out", async () => {
  execFileSync("mkfifo", [join(workspace, "pipe")]);
  const server = createServer().listen(join(workspace, "socket"));
  await new Promise((resolve) => server.once("listening", resolve));
  expect(await roundTrip()).toEqual([
    "/pipe is a named pipe and is not in the backup",
    "/socket is a socket and is not in the backup",
  ]);
  server.close();
});

it("a file that grows: what it was when it was opened", async () => {
  writeFileSync(join(workspace, "log"), Buffer.alloc(3 * MIB, "a"));
  let grown = false;
  const onBytes = () => {
    if (!grown) appendFileSync(join(workspace, "log"), Buffer.alloc(2 * MIB, "b"));
    grown = true;
  };
  expect(await roundTrip({ onBytes })).toEqual(["/log changed while it was read"]);
  expect(restored("log").equals(Buffer.alloc(3 * MIB, "a"))).toBe(true);
});

it("a file that becomes shorter: its end is zeros, and that is said", async () => {
  writeFileSync(join(workspace, "log"), Buffer.alloc(3 * MIB, "a"));
  const onBytes = () => truncateSync(join(workspace, "log"), MIB);
  expect(await roundTrip({ onBytes })).toEqual([
    "/log became shorter while it was read; its end is zeros in the backup",
  ]);
  expect(restored("log").length).toBe(3 * MIB);
  expect(restored("log").subarray(0, MIB).equals(Buffer.alloc(MIB, "a"))).toBe(true);
  expect(
    restored("log")
      .subarray(MIB)
      .every((byte) => byte === 0),
  ).toBe(true);
});

it("files and folders that go away or are exchanged while it runs", async () => {
  for (const name of ["a-first", "b-file", "c-folder/inside", "d-link"]) {
    mkdirSync(join(workspace, "c-folder"), { recursive: true });
    writeFileSync(join(workspace, name), "x");
  }
  const onBytes = () => {
    rmSync(join(workspace, "b-file"), { force: true });
    rmSync(join(workspace, "c-folder"), { recursive: true, force: true });
    rmSync(join(workspace, "d-link"), { force: true });
    symlinkSync("/etc/passwd", join(workspace, "d-link"));
  };
  expect(await roundTrip({ onBytes })).toEqual([
    "/b-file was removed while the backup ran and is not in it",
    "/c-folder was removed while the backup ran and is not in it",
  ]);
  expect(readdirSync(join(folder, "out/workspace"))).toEqual(["a-first", "d-link"]);
  expect(readlinkSync(join(folder, "out/workspace/d-link"))).toBe("/etc/passwd");
});

it("files that cannot be read are found before the work, and are named", async () => {
  writeFileSync(join(workspace, "open"), "x");
  writeFileSync(join(workspace, "closed\n"), "x", { mode: 0o000 });
  mkdirSync(join(workspace, "locked"));
  writeFileSync(join(workspace, "locked/inside"), "x");
  chmodSync(join(workspace, "locked"), 0o000);
  const unreadable = [`${workspace}/closed\\n`, `${workspace}/locked`];
  await asNobody(async () => {
    expect(await surveyTree(source(), undefined)).toEqual({ bytes: 2, unreadable });
  });
  // Root reads the archive's folder, and nobody the workspace.
  const skipped: string[] = [];
  const warnings = await asNobody(() => roundTrip({ onUnreadable: (path) => void skipped.push(path) }));
  expect([warnings, skipped]).toEqual([[], unreadable]);
  expect(readdirSync(join(folder, "out/workspace"))).toEqual(["open"]);
  chmodSync(join(workspace, "locked"), 0o700);
});

/** Root reads everything: these tests need to be somebody else. */
async function asNobody<T>(work: () => Promise<T>): Promise<T> {
  if (process.getuid?.() !== 0) return work();
  for (const path of [folder, join(folder, "out")]) chmodSync(path, 0o777);
  process.seteuid?.(65534);
  try {
    return await work();
  } finally {
    process.seteuid?.(0);
  }
}

it("modes: those of a user's scripts stay, set-user-ID does not come back", async () => {
  writeFileSync(join(workspace, "run.sh"), "#!/bin/sh\n");
  chmodSync(join(workspace, "run.sh"), 0o4755);
  mkdirSync(join(workspace, "shared"));
  chmodSync(join(workspace, "shared"), 0o2775);
  await roundTrip();
  expect(statSync(join(folder, "out/workspace/run.sh")).mode & 0o7777).toBe(0o755);
  expect(statSync(join(folder, "out/workspace/shared")).mode & 0o7777).toBe(0o2775);
});
