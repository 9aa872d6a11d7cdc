import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { readdirSync, lstatSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { VersionArchive, type VersionSources } from "./version-archive.ts";

let home: string;
let workspace: string;
let versions: string;
let archive: VersionArchive;

beforeEach(() => {
  home = realpathSync(mkdtempSync(join(tmpdir(), "leoflow-archive-")));
  workspace = join(home, "workspace");
  versions = join(home, "versions");
  archive = new VersionArchive(versions, workspace, (relPath) => relPath === "flows/another_dag.py");
  write("flows/dag.py", "import lib.helper\n");
  write("flows/lib/__init__.py", "");
  write("flows/lib/helper.py", "X = 1\n");
  write("flows/lib/unused.py", "Y = 1\n");
  write("flows/query.sql", "select 1\n");
  write("flows/data.csv", "1,2\n");
  write("flows/data/big.bin", "gigabytes");
  write("flows/__pycache__/dag.cpython-312.pyc", "old");
  write("other.py", "");
  write("flows/another_dag.py", "");
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

function write(relPath: string, text: string): void {
  mkdirSync(dirname(join(workspace, relPath)), { recursive: true });
  writeFileSync(join(workspace, relPath), text);
}

const sources = (changes: Partial<VersionSources> = {}): VersionSources => ({
  relPath: "flows/dag.py",
  projectFolder: null,
  overlay: null,
  files: ["flows/dag.py", "flows/lib/helper.py"],
  templates: ["flows/query.sql"],
  reads: [],
  runtime: "r1",
  ...changes,
});

async function keep(changes: Partial<VersionSources> = {}): Promise<string> {
  const outcome = await archive.keep(sources(changes), Infinity);
  if (outcome.kind !== "archived") throw new Error(outcome.relPath);
  return outcome.digest;
}

describe("keep", () => {
  it("copies code and templates and links everything beside them", async () => {
    const folder = join(versions, await keep());
    write("flows/lib/helper.py", "X = 2\n");
    write("flows/data.csv", "3,4\n");
    const text = (relPath: string) => readFileSync(join(folder, relPath), "utf8");
    expect(text("flows/lib/helper.py")).toBe("X = 1\n");
    expect(text("flows/query.sql")).toBe("select 1\n");
    expect(text("flows/data.csv")).toBe("3,4\n");
    expect(text("flows/data/big.bin")).toBe("gigabytes");
    expect(text("flows/lib/unused.py")).toBe("Y = 1\n");
    expect(statSync(join(folder, "flows/dag.py")).mode & 0o777).toBe(0o444);
    expect(lstatSync(join(folder, "flows/lib/__init__.py")).isSymbolicLink()).toBe(false);
    expect(lstatSync(join(folder, "other.py")).isSymbolicLink()).toBe(true);
    expect(existsSync(join(folder, "flows/__pycache__"))).toBe(false);
    expect(existsSync(join(folder, "flows/another_dag.py"))).toBe(false);
    expect(readdirSync(versions)).toHaveLength(1);
  });

  it("addresses by content: the same sources make one archive, others another", async () => {
    const first = await keep();
    expect(await keep()).toBe(first);
    write("flows/query.sql", "select 2\n");
    const second = await keep();
    expect(second).not.toBe(first);
    write("flows/query.sql", "select 1\n");
    expect(await keep()).toBe(first);
    expect(readdirSync(versions).sort()).toEqual([first, second].sort());
  });

  it("pins small configuration that the import read, and links other data", async () => {
    write("flows/conf.yaml", "a: 1\n");
    write("flows/state.db", "x");
    const folder = join(versions, await keep({ reads: ["flows/conf.yaml", "flows/state.db", "flows/"] }));
    expect(lstatSync(join(folder, "flows/conf.yaml")).isSymbolicLink()).toBe(false);
    expect(lstatSync(join(folder, "flows/state.db")).isSymbolicLink()).toBe(true);
  });

  it("refuses sources that changed after the moment, and paths that lead out", async () => {
    expect(await archive.keep(sources(), Date.now() - 60_000)).toMatchObject({ kind: "changed-meanwhile" });
    writeFileSync(join(home, "secret.sql"), "x");
    const folder = join(versions, await keep({ templates: ["../secret.sql", "/etc/passwd"] }));
    expect(readdirSync(join(folder, "flows")).sort()).toEqual(["dag.py", "data", "data.csv", "lib", "query.sql"]);
  });
});

describe("afterwards", () => {
  it("knows whether the workspace still holds the same", async () => {
    const digest = await keep();
    expect(await archive.unchangedSources(digest, "flows/dag.py", "r1")).toMatchObject({
      templates: ["flows/query.sql"],
    });
    expect(await archive.unchangedSources(digest, "flows/dag.py", "r2")).toBeNull();
    expect(await archive.unchangedSources("0".repeat(64), "flows/dag.py", "r1")).toBeNull();
    write("flows/__init__.py", "");
    expect(await archive.unchangedSources(digest, "flows/dag.py", "r1")).toBeNull();
    rmSync(join(workspace, "flows/__init__.py"));
    rmSync(join(workspace, "flows/query.sql"));
    expect(await archive.unchangedSources(digest, "flows/dag.py", "r1")).toBeNull();
  });

  it("reaches what came later and forgets what went", async () => {
    const digest = await keep();
    write("flows/new.csv", "new");
    write("flows/data/more.bin", "more");
    await archive.linkEntry(digest, "flows/new.csv");
    await archive.linkEntry(digest, "flows/data/more.bin");
    expect(readFileSync(join(versions, digest, "flows/new.csv"), "utf8")).toBe("new");
    expect(lstatSync(join(workspace, "flows/data/more.bin")).isSymbolicLink()).toBe(false);
    rmSync(join(workspace, "flows/new.csv"));
    write("flows/newer.csv", "newer");
    await archive.refreshLinks(digest);
    expect(readdirSync(join(versions, digest, "flows"))).not.toContain("new.csv");
    expect(readFileSync(join(versions, digest, "flows/newer.csv"), "utf8")).toBe("newer");
  });

  it("hands what tasks wrote beside the DAG file back to the workspace", async () => {
    const digest = await keep();
    const folder = join(versions, digest, "flows");
    mkdirSync(join(folder, "out/deep"), { recursive: true });
    writeFileSync(join(folder, "out/deep/report.txt"), "report");
    writeFileSync(join(folder, "result.csv"), "result");
    writeFileSync(join(folder, "mine.csv"), "the task's");
    mkdirSync(join(folder, "__pycache__"));
    write("flows/mine.csv", "the user's");
    await archive.refreshLinks(digest);
    const live = (name: string) => readFileSync(join(workspace, "flows", name), "utf8");
    expect([live("out/deep/report.txt"), live("result.csv"), live("mine.csv")]).toEqual([
      "report",
      "result",
      "the user's",
    ]);
    expect(readFileSync(join(folder, "result.csv"), "utf8")).toBe("result");
    expect(readFileSync(join(folder, "mine.csv"), "utf8")).toBe("the task's");
    expect(lstatSync(join(folder, "out")).isSymbolicLink()).toBe(true);
  });

  it("removes archives no version names, and leaves the live files alone", async () => {
    const kept = await keep();
    write("flows/dag.py", "changed\n");
    const dropped = await keep();
    mkdirSync(join(versions, ".tmp-left-over"));
    expect(await archive.collectGarbage(new Set([kept]), Date.now())).toBe(0);
    expect(await archive.collectGarbage(new Set([kept]), Date.now() + 10_000, 5_000)).toBe(2);
    expect(readdirSync(versions)).toEqual([kept]);
    expect(dropped).not.toBe(kept);
    expect(readFileSync(join(workspace, "flows/data/big.bin"), "utf8")).toBe("gigabytes");
  });
});
