import { mkdirSync, mkdtempSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { relinkVersions } from "./version-links.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "leoflow-links-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

it("lets links follow the workspace, and changes nothing behind a link to a folder", () => {
  const before = join(root, "before");
  const version = join(root, "versions/0a");
  mkdirSync(join(before, "sql"), { recursive: true });
  mkdirSync(join(before, "lib"));
  writeFileSync(join(before, "sql/load.sql"), "select 1");
  symlinkSync(join(before, "sql/load.sql"), join(before, "sql/latest.sql"));
  mkdirSync(join(version, "lib"), { recursive: true });
  symlinkSync(join(before, "sql"), join(version, "sql"));
  symlinkSync(join(before, "lib/data.csv"), join(version, "lib/data.csv"));
  symlinkSync("/usr/share/zoneinfo", join(version, "zones"));

  const after = join(root, "after");
  expect(relinkVersions(join(root, "versions"), after)).toBe(2);
  expect(readlinkSync(join(version, "sql"))).toBe(join(after, "sql"));
  expect(readlinkSync(join(version, "lib/data.csv"))).toBe(join(after, "lib/data.csv"));
  expect(readlinkSync(join(version, "zones"))).toBe("/usr/share/zoneinfo");
  expect(readlinkSync(join(before, "sql/latest.sql"))).toBe(join(before, "sql/load.sql"));
  expect(relinkVersions(join(root, "versions"), after)).toBe(0);
});
