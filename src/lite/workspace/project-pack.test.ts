import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { filesHash, packedFiles, type PackRules } from "./project-pack.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-pack-"));
  const files = ["dag.py", "leoflow.yaml", "dag.json", "lib/a.py", "lib/a.pyc", "lib/deep/b.sql", "data/big.csv"];
  for (const path of [...files, ".git/config", "lib/__pycache__/a.py", "venv/x.py", "docs/dag.json"]) write(path);
  chmodSync(join(folder, "lib/a.py"), 0o755);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(path: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), path);
}

const paths = async (rules: PackRules = {}) => (await packedFiles(folder, rules)).map(({ path }) => path);

it("packs the project's files, in order, without what can be made anew", async () => {
  const all = ["dag.py", "data/big.csv", "docs/dag.json", "leoflow.yaml", "lib/a.py", "lib/deep/b.sql"];
  expect(await paths()).toEqual(all);
  expect(await paths({ include_paths: ["."], exclude_paths: ["data", "*.json"] })).toEqual(
    all.filter((path) => !/^data|json$/.test(path)),
  );
  expect(await paths({ include_paths: ["dag.py", "lib/"] })).toEqual(["dag.py", "lib/a.py", "lib/deep/b.sql"]);
  expect(await paths({ include_paths: ["**/*.sql"] })).toEqual(["lib/deep/b.sql"]);
});

it("has one hash for the same files, and another for another name, content or mode", async () => {
  const [first, ...rest] = await packedFiles(folder, {});
  const all = [...rest, first as NonNullable<typeof first>];
  const hash = filesHash(all);
  expect(hash).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(filesHash([...all].reverse())).toBe(hash);
  chmodSync(join(folder, "dag.py"), 0o755);
  expect(filesHash(await packedFiles(folder, {}))).not.toBe(hash);
});

it("refuses links that would be packed", async () => {
  symlinkSync("/etc/passwd", join(folder, "data/link"));
  await expect(paths()).rejects.toThrow(`${join(folder, "data/link")} is a link`);
  expect(await paths({ exclude_paths: ["link"] })).toContain("data/big.csv");
});
