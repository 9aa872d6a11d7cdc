import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { DagFileFinder } from "./discovery.ts";

const DAG = "from airflow.sdk import DAG\n";
let workspace: string;

beforeEach(() => {
  workspace = realpathSync(mkdtempSync(join(tmpdir(), "leoflow-discovery-")));
});
afterEach(() => rmSync(workspace, { recursive: true, force: true }));

function write(relPath: string, text = DAG): void {
  mkdirSync(dirname(join(workspace, relPath)), { recursive: true });
  writeFileSync(join(workspace, relPath), text);
}

const found = async (syntax: "glob" | "regexp" = "glob") => [
  ...(await new DagFileFinder(workspace, syntax).scan()).dagFiles.keys(),
];

it("finds DAG files at any depth, by Airflow's safe mode", async () => {
  write("b.py");
  write("deep/er/still/a.py", "# AIRFLOW's Dag\n");
  write("assets.py", "from airflow.sdk import Asset, asset\n");
  write("helper.py", "import os  # airflow\n");
  write("notes.txt");
  for (const skipped of [".git/x.py", "__pycache__/x.py", "venv/x.py", "p/.venv/x.py", "node_modules/x.py"])
    write(skipped);
  expect(await found()).toEqual(["assets.py", "b.py", "deep/er/still/a.py"]);
});

it("obeys nested ignore files, negation and folders", async () => {
  write(".airflowignore", "old/\n*_wip.py\n!keep_wip.py\n");
  write("sub/.airflowignore", "/only_here.py\n");
  for (const file of ["a.py", "old/a.py", "b_wip.py", "keep_wip.py", "sub/only_here.py", "sub/x/only_here.py"])
    write(file);
  expect(await found()).toEqual(["a.py", "keep_wip.py", "sub/x/only_here.py"]);
});

it("reads ignore files as regular expressions when told", async () => {
  write(".airflowignore", "tenant_\\d\n");
  write("tenant_1/a.py");
  write("tenant_x/a.py");
  expect(await found("regexp")).toEqual(["tenant_x/a.py"]);
});

it("survives link loops, and takes a linked folder once and by its real path first", async () => {
  write("real/a.py");
  symlinkSync(join(workspace, "real"), join(workspace, "another"));
  symlinkSync(workspace, join(workspace, "real/loop"));
  symlinkSync("/", join(workspace, "everything"));
  symlinkSync(join(workspace, "gone"), join(workspace, "dangling.py"));
  const outside = mkdtempSync(join(tmpdir(), "leoflow-outside-"));
  writeFileSync(join(outside, "b.py"), DAG);
  symlinkSync(outside, join(workspace, "shared"));
  expect(await found()).toEqual(["real/a.py", "shared/b.py"]);
  rmSync(outside, { recursive: true });
});

it("gives each file its nearest project", async () => {
  write("plain.py");
  write("p/leoflow.yaml", "dependencies: [cowsay]\n");
  write("p/dag.py", "# nothing the safe mode looks for\n");
  write("p/sub/more.py");
  write("broken/leoflow.yaml", "nope: 1\n");
  write("broken/dag.py");
  const { dagFiles } = await new DagFileFinder(workspace, "glob").scan();
  expect([...dagFiles].map(([relPath, project]) => [relPath, project?.folder, project?.outcome.kind])).toEqual([
    ["broken/dag.py", "broken", "broken"],
    ["p/dag.py", "p", "read"],
    ["p/sub/more.py", "p", "read"],
    ["plain.py", undefined, undefined],
  ]);
});

it("names what it cannot read and goes on", async () => {
  write("a.py");
  write("secret/b.py");
  chmodSync(join(workspace, "secret"), 0o000);
  const { dagFiles, unreadable } = await new DagFileFinder(workspace, "glob").scan();
  chmodSync(join(workspace, "secret"), 0o755);
  expect(dagFiles.has("a.py")).toBe(true);
  // root reads everything
  if (process.getuid?.() !== 0) expect(unreadable).toMatchObject([{ relPath: "secret" }]);
});

it("takes a file that was just emptied for what it was, until told otherwise", async () => {
  write("a.py");
  const finder = new DagFileFinder(workspace, "glob");
  await finder.scan();
  write("a.py", "");
  expect([...(await finder.scan()).dagFiles.keys()]).toEqual(["a.py"]);
  expect(await finder.mayHoldDag("a.py", true)).toBe(false);
  expect([...(await finder.scan()).dagFiles.keys()]).toEqual([]);
});
