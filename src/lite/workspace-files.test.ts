import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FileRefusal, type RefusalReason } from "../api/leoflow/files-contract.ts";
import { EditableFiles } from "./workspace-files.ts";
import { atPlace, openRoot } from "./workspace-files-place.ts";

let dir: string;
let workspace: string;
let outside: string;
let files: EditableFiles;

beforeEach(() => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), "leoflow-files-test-")));
  workspace = join(dir, "workspace");
  outside = join(dir, "outside");
  mkdirSync(workspace);
  mkdirSync(outside);
  writeFileSync(join(outside, "secret.txt"), "secret");
  files = new EditableFiles({ workspace });
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

function put(path: string, content: string | Buffer = "text\n"): void {
  mkdirSync(join(workspace, path, ".."), { recursive: true });
  writeFileSync(join(workspace, path), content);
}
const onDisk = (path: string) => readFileSync(join(workspace, path), "utf8");

async function refused(work: Promise<unknown>): Promise<RefusalReason | "done"> {
  return work.then(
    () => "done",
    (error: unknown) => {
      if (error instanceof FileRefusal) return error.reason;
      throw error;
    },
  );
}

/** What every way to use a path says of it. */
async function everyWay(path: string): Promise<Set<RefusalReason | "done">> {
  const other = `other-${Math.random()}.py`;
  put(other);
  return new Set([
    await refused(files.read(path)),
    await refused(files.write(path, "x", "tag")),
    await refused(files.createFile(path, "x")),
    await refused(files.createFolder(path)),
    await refused(files.rename(path, "new.py")),
    await refused(files.rename(other, path)),
    await refused(files.remove(path, true)),
  ]);
}

describe("reading and writing", () => {
  it("gives back what is there, byte for byte, and keeps mode, line endings and the lack of a last one", async () => {
    const text = "\uFEFFa = 1\r\nb = 'ä€😀'\n\r\nend";
    put("a.py", text);
    chmodSync(join(workspace, "a.py"), 0o751);
    const before = await files.read("a.py");
    expect(before).toMatchObject({ path: "a.py", text, readOnly: false });
    const tag = await files.write("a.py", `${text}\r\nmore`, before.tag);
    expect(onDisk("a.py")).toBe(`${text}\r\nmore`);
    expect(statSync(join(workspace, "a.py")).mode & 0o7777).toBe(0o751);
    expect((await files.read("a.py")).tag).toBe(tag);
    expect(readdirSync(workspace)).toEqual(["a.py"]);
  });

  it("never overwrites what was changed meanwhile, also with the same length and time", async () => {
    put("a.py", "one");
    const { tag } = await files.read("a.py");
    const { mtime } = statSync(join(workspace, "a.py"));
    put("a.py", "two");
    execFileSync("touch", ["-d", mtime.toISOString(), join(workspace, "a.py")]);
    expect(await refused(files.write("a.py", "mine", tag))).toBe("changed");
    expect(onDisk("a.py")).toBe("two");
    unlinkSync(join(workspace, "a.py"));
    expect(await refused(files.write("a.py", "mine", tag))).toBe("not-found");
  });

  it("takes one of two who save at once", async () => {
    put("a.py", "old");
    const { tag } = await files.read("a.py");
    const outcomes = await Promise.all(["one", "two"].map((text) => refused(files.write("a.py", text, tag))));
    expect(outcomes.sort()).toEqual(["changed", "done"]);
    expect(["one", "two"]).toContain(onDisk("a.py"));
    expect(await refused(files.write("a.py", "late", tag))).toBe("changed");
    expect(readdirSync(workspace)).toEqual(["a.py"]);
  });

  it("refuses what is not text, too large, or no file", async () => {
    put("binary.bin", Buffer.from([0x50, 0x4b, 0, 1]));
    put("latin.txt", Buffer.from([0x63, 0x61, 0x66, 0xe9]));
    put("large.csv", "");
    truncateSync(join(workspace, "large.csv"), 2 * 1024 * 1024 + 1);
    mkdirSync(join(workspace, "folder"));
    execFileSync("mkfifo", [join(workspace, "pipe")]);
    expect(await refused(files.read("binary.bin"))).toBe("not-text");
    expect(await refused(files.read("latin.txt"))).toBe("not-text");
    expect(await refused(files.read("large.csv"))).toBe("too-large");
    expect(await refused(files.read("folder"))).toBe("not-text");
    expect(await refused(files.read("pipe"))).toBe("not-text");
    expect(await refused(files.read("gone.py"))).toBe("not-found");
    expect(await refused(files.createFile("a.py", "x\0y"))).toBe("not-text");
    expect(await refused(files.createFile("a.py", "\uD800"))).toBe("not-text");
    expect(await refused(files.createFile("a.py", "x".repeat(2 * 1024 * 1024 + 1)))).toBe("too-large");
  });
});

describe("making, moving and deleting", () => {
  it("makes files and the folders above them, and replaces nothing", async () => {
    await files.createFile("a/b/c.py", "one");
    expect(onDisk("a/b/c.py")).toBe("one");
    expect(await refused(files.createFile("a/b/c.py", "two"))).toBe("exists");
    expect(await refused(files.createFolder("a/b"))).toBe("exists");
    expect(await refused(files.createFile("a/b/c.py/d.py", ""))).toBe("not-found");
    symlinkSync("nowhere", join(workspace, "dangling.py"));
    expect(await refused(files.createFile("dangling.py", "x"))).toBe("exists");
    const both = await Promise.all(["one", "two"].map((text) => refused(files.createFile("new.py", text))));
    expect(both.sort()).toEqual(["done", "exists"]);
  });

  it("moves files and folders, and replaces nothing", async () => {
    put("a.py", "a");
    put("b.py", "b");
    put("folder/c.py", "c");
    expect(await refused(files.rename("a.py", "b.py"))).toBe("exists");
    await files.rename("a.py", "deep/er/d.py");
    expect(onDisk("deep/er/d.py")).toBe("a");
    expect(await refused(files.rename("folder", "folder/inner"))).toBe("invalid-path");
    expect(await refused(files.rename("folder", "deep"))).toBe("exists");
    await files.rename("folder", "renamed");
    expect(onDisk("renamed/c.py")).toBe("c");
    expect(await refused(files.rename("a.py", "x.py"))).toBe("not-found");
  });

  it("deletes a folder with something in it only when told to, and never through links", async () => {
    put("folder/a.py");
    put("folder/inner/b.py");
    symlinkSync(outside, join(workspace, "folder/link"));
    expect(await refused(files.remove("folder", false))).toBe("not-empty");
    await files.remove("folder", true);
    expect(existsSync(join(workspace, "folder"))).toBe(false);
    expect(readdirSync(outside)).toEqual(["secret.txt"]);
    put("a.py");
    await files.remove("a.py", false);
    expect(readdirSync(workspace)).toEqual([]);
  });
});

describe("the workspace's edge", () => {
  it("is not crossed by names", async () => {
    for (const path of [
      "../outside/secret.txt",
      "a/../../outside/secret.txt",
      join(outside, "secret.txt"),
      "/etc/passwd",
      "",
      ".",
      "..",
      "a//b",
      "a/./b",
      "a/",
      "a\0b",
      "a\nb",
      "..\\outside",
      "x".repeat(256),
      "y/".repeat(600),
    ]) {
      expect([path, ...(await everyWay(path))]).toEqual([path, "invalid-path"]);
    }
    expect(readFileSync(join(outside, "secret.txt"), "utf8")).toBe("secret");
  });

  it("is not crossed by links to files and folders", async () => {
    symlinkSync(join(outside, "secret.txt"), join(workspace, "file.py"));
    symlinkSync(outside, join(workspace, "folder"));
    symlinkSync("../../outside", join(workspace, "relative"));
    const { tag } = await filesOf(outside).read("secret.txt");
    expect(await refused(files.read("file.py"))).toBe("outside");
    expect(await refused(files.write("file.py", "x", tag))).toBe("outside");
    for (const path of ["folder/secret.txt", "folder/new.py", "folder/new/er.py"]) {
      expect([path, ...(await everyWay(path))]).toEqual([path, "outside"]);
    }
    expect(readdirSync(outside)).toEqual(["secret.txt"]);
    expect(readFileSync(join(outside, "secret.txt"), "utf8")).toBe("secret");
    // The link itself is the workspace's.
    await files.remove("folder", true);
    await files.remove("file.py", false);
    expect(readdirSync(outside)).toEqual(["secret.txt"]);
  });

  it("lets links stay links that lead to something inside", async () => {
    put("real/a.py", "one");
    symlinkSync("real/a.py", join(workspace, "a.py"));
    symlinkSync("real", join(workspace, "folder"));
    symlinkSync("loop", join(workspace, "loop"));
    const { tag, text } = await files.read("a.py");
    expect(text).toBe("one");
    const next = await files.write("a.py", "two", tag);
    await files.write("folder/a.py", "three", next);
    expect(onDisk("real/a.py")).toBe("three");
    expect(lstatSync(join(workspace, "a.py")).isSymbolicLink()).toBe(true);
    expect(await refused(files.read("loop"))).toBe("not-found");
  });

  it("holds when a folder becomes a link after it was looked at", async () => {
    put("folder/secret.txt", "ours");
    const swap = () => {
      renameSync(join(workspace, "folder"), join(workspace, "aside"));
      symlinkSync(outside, join(workspace, "folder"));
    };
    // Where the system has no way to stay in an open folder, the change is refused.
    const stays = process.platform === "linux";
    const outcome = await refused(
      atPlace(workspace, ["folder", "secret.txt"], async ({ folder, name }) => {
        swap();
        expect(readFileSync(await folder.at(name), "utf8")).toBe("ours");
        writeFileSync(await folder.at("new.py"), "x");
      }),
    );
    expect(outcome).toBe(stays ? "done" : "outside");
    expect(existsSync(join(workspace, "aside/new.py"))).toBe(stays);
    expect(readdirSync(outside)).toEqual(["secret.txt"]);

    const root = await openRoot(workspace);
    await expect(root.inner("folder")).rejects.toThrow(/ELOOP|ENOTDIR/);
    await root.close();
  });

  it("leaves hidden files, caches and virtual environments alone", async () => {
    for (const path of [".env", ".git/config", "venv/a.py", "a/__pycache__/b.py", "node_modules/x.js"]) {
      put(path, "x");
      expect([path, ...(await everyWay(path))]).toEqual([path, "invalid-path"]);
    }
    put(".airflowignore", "old.py\n");
    expect((await files.read(".airflowignore")).text).toBe("old.py\n");
  });
});

describe("what may not be written", () => {
  it("is told, and is left as it is: files of git bundles", async () => {
    put("team/.leoflow-bundle", "{}");
    put("team/dags/a.py", "theirs");
    put("b.py");
    const { tag, readOnly } = await files.read("team/dags/a.py");
    expect(readOnly).toBe(true);
    expect(await refused(files.write("team/dags/a.py", "mine", tag))).toBe("read-only");
    expect(await refused(files.createFile("team/new.py", ""))).toBe("read-only");
    expect(await refused(files.remove("team", true))).toBe("read-only");
    expect(await refused(files.rename("team", "mine"))).toBe("read-only");
    expect(await refused(files.rename("team/dags/a.py", "a.py"))).toBe("read-only");
    expect(await refused(files.rename("b.py", "team/b.py"))).toBe("read-only");
    expect(onDisk("team/dags/a.py")).toBe("theirs");
  });

  it("is told: files that the system keeps from us", async () => {
    put("folder/a.py", "x");
    chmodSync(join(workspace, "folder/a.py"), 0o444);
    const { tag, readOnly } = await files.read("folder/a.py");
    const isRoot = process.getuid?.() === 0;
    expect(readOnly).toBe(!isRoot);
    expect(await refused(files.write("folder/a.py", "y", tag))).toBe(isRoot ? "done" : "read-only");
  });
});

describe("listing and searching", () => {
  it("shows what is the workspace's, and what is ignored or read-only", async () => {
    put("b.py");
    put(".airflowignore", "old/\n");
    put("old/a.py");
    put("team/.leoflow-bundle", "{}");
    put("team/dag.py");
    put(".env");
    put("venv/x.py");
    symlinkSync(outside, join(workspace, "away"));
    symlinkSync("b.py", join(workspace, "link.py"));
    const { entries, truncated } = await files.list();
    expect(truncated).toBe(false);
    expect(entries.map(({ path, kind, readOnly, ignored }) => [path, kind, readOnly, ignored])).toEqual([
      [".airflowignore", "file", false, false],
      ["b.py", "file", false, false],
      ["link.py", "file", false, false],
      ["old", "folder", false, true],
      ["old/a.py", "file", false, true],
      ["team", "folder", true, false],
      ["team/dag.py", "file", true, false],
    ]);
  });

  it("finds text, in whatever case, and skips what is no text", async () => {
    put("a.py", "first\r\nwith Needle here\r\n");
    put("b/c.sql", "needle");
    put("d.bin", Buffer.from("needle\0"));
    linkSync(join(workspace, "a.py"), join(workspace, "same.py"));
    expect(await files.search("NEEDLE")).toEqual({
      matches: [
        { path: "a.py", line: 2, column: 6, text: "with Needle here" },
        { path: "b/c.sql", line: 1, column: 1, text: "needle" },
        { path: "same.py", line: 2, column: 6, text: "with Needle here" },
      ],
      truncated: false,
    });
    put("many.txt", "needle\n".repeat(600));
    const { matches, truncated } = await files.search("needle");
    expect([matches.length, truncated]).toEqual([500, true]);
  });
});

const filesOf = (folder: string) => new EditableFiles({ workspace: folder });
