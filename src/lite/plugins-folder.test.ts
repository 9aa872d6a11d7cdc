import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { PluginsFolder } from "./plugins-folder.ts";

const home = mkdtempSync(join(tmpdir(), "leoflow-plugins-test-"));
afterAll(() => rmSync(home, { recursive: true }));

it("tells of files that come, change and go, and of nothing else", async () => {
  const path = join(home, "plugins");
  let changes = 0;
  const folder = new PluginsFolder(path, () => changes++);
  const after = async (change: () => void = () => undefined) => {
    change();
    await folder.runOnce();
    return changes;
  };
  expect(await after()).toBe(0);
  expect(await after(() => mkdirSync(join(path, "package"), { recursive: true }))).toBe(0);
  expect(await after(() => writeFileSync(join(path, "package/own.py"), "a = 1"))).toBe(1);
  expect(await after()).toBe(1);
  expect(await after(() => utimesSync(join(path, "package/own.py"), 1, 1))).toBe(2);
  expect(await after(() => mkdirSync(join(path, "package/__pycache__")))).toBe(2);
  expect(await after(() => writeFileSync(join(path, "package/__pycache__/own.pyc"), "b"))).toBe(2);
  expect(await after(() => writeFileSync(join(path, "package/what-it-did.log"), "b"))).toBe(2);
  expect(await after(() => writeFileSync(join(path, ".own.py.swp"), "b"))).toBe(2);
  expect(await after(() => renameSync(join(path, "package/own.py"), join(path, "own.py")))).toBe(3);
  expect(await after(() => symlinkSync(join(home, "nowhere"), join(path, "link.py")))).toBe(4);
  expect(await after(() => unlinkSync(join(path, "own.py")))).toBe(5);
});
