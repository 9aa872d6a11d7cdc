import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { sharedHome } from "../../../test/support/home.ts";
import { runCommand } from "../command.ts";
import { resolvePaths, type LeoflowPaths } from "../paths.ts";
import { silentProgress } from "../progress.ts";
import { Toolchain } from "../python/toolchain.ts";
import { ensurePostgres, pinnedPostgresVersion, programsOf } from "./install.ts";

vi.setConfig({ testTimeout: 120_000 });

let folder: string;
let paths: LeoflowPaths;
let installation: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-test-"));
  paths = resolvePaths(join(folder, ".leoflow"));
  installation = join(paths.managedPostgres, `postgres-${pinnedPostgresVersion(paths)}`);
  mkdirSync(paths.managedPostgres, { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function expectWhole(bin: string): Promise<void> {
  expect(bin).toBe(programsOf(paths, pinnedPostgresVersion(paths)));
  const { stdout } = await runCommand([join(bin, "postgres"), "--version"]);
  expect(stdout).toContain(`(PostgreSQL) ${pinnedPostgresVersion(paths).split(".").slice(0, 2).join(".")}`);
  expect(readdirSync(paths.managedPostgres)).toEqual([`postgres-${pinnedPostgresVersion(paths)}`]);
}

it("#729: is installed over what an earlier installation left half done, links among it", async () => {
  const whole = realpathSync(join(sharedHome.managedPostgres, `postgres-${pinnedPostgresVersion(paths)}`));
  cpSync(whole, installation, { recursive: true });
  const bin = programsOf(paths, pinnedPostgresVersion(paths));
  rmSync(join(bin, "postgres"));
  rmSync(join(bin, "initdb"));
  symlinkSync("postgres", join(bin, "initdb"));
  symlinkSync("/nowhere/libpq.so.5", join(bin, "../lib/libpq-of-another.so"));
  writeFileSync(join(bin, "psql"), "half of it");
  cpSync(installation, `${installation}.new`, { recursive: true, verbatimSymlinks: true });

  const toolchain = new Toolchain(paths, silentProgress);
  await expectWhole(await ensurePostgres(paths, silentProgress, toolchain));
  expect(existsSync(join(bin, "../lib/libpq-of-another.so"))).toBe(false);
  expect((await runCommand([join(bin, "initdb"), "--version"])).stdout).toContain("initdb (PostgreSQL)");
  expect((await runCommand([join(bin, "psql"), "--version"])).stdout).toContain("psql (PostgreSQL)");

  // A link that leads nowhere is in the way too.
  rmSync(installation, { recursive: true });
  symlinkSync("/nowhere/postgres", installation);
  await expectWhole(await ensurePostgres(paths, silentProgress, toolchain));
});
