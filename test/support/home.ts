import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { acquireHomeLock } from "../../src/lite/home-lock.ts";
import { resolvePaths, type LeoflowPaths } from "../../src/lite/paths.ts";
import { ensurePostgres } from "../../src/lite/postgres/install.ts";
import { pause } from "../../src/lite/postgres/stale-server.ts";
import { silentProgress, type Progress } from "../../src/lite/progress.ts";
import { ensurePython, type BasePython } from "../../src/lite/python/base-python.ts";
import { Toolchain } from "../../src/lite/python/toolchain.ts";

/** The home that all tests share: Python and PostgreSQL as the product's own installer makes them, kept between runs. */
export const sharedHome: LeoflowPaths = resolvePaths(join(resolvePaths("/").program, ".cache/test-home/.leoflow"));

/** Installs what is missing there. Several test runs at once wait for each other. */
export async function prepareSharedHome(
  progress: Progress = silentProgress,
): Promise<{ python: BasePython; postgresBin: string }> {
  let held = await acquireHomeLock(sharedHome.lock);
  while ("heldBy" in held) {
    await pause(200);
    held = await acquireHomeLock(sharedHome.lock);
  }
  try {
    const toolchain = new Toolchain(sharedHome, progress);
    const [python, postgresBin] = await Promise.all([
      ensurePython(sharedHome, progress, toolchain),
      ensurePostgres(sharedHome, progress, toolchain),
    ]);
    return { python, postgresBin };
  } finally {
    held.lock.release();
  }
}

/**
 * A home of its own under /tmp that shares the installed Python and PostgreSQL, so that a start in it takes a second and
 * no network. `remove` deletes it.
 */
export function createHome(): { paths: LeoflowPaths; remove: () => void } {
  const parent = mkdtempSync(join(tmpdir(), "leoflow-home-"));
  const paths = resolvePaths(join(parent, ".leoflow"));
  mkdirSync(paths.managedPostgres, { recursive: true, mode: 0o700 });
  symlinkSync(sharedHome.venv, paths.venv);
  for (const name of readdirSync(sharedHome.managedPostgres).filter((entry) => entry.startsWith("postgres-"))) {
    symlinkSync(join(sharedHome.managedPostgres, name), join(paths.managedPostgres, basename(name)));
  }
  return { paths, remove: () => rmSync(parent, { recursive: true, force: true }) };
}

/** The uv that the shared home uses: the one on PATH where it fits, else the one that its set-up installed. */
export function sharedUv(): Promise<string> {
  return new Toolchain(sharedHome, silentProgress).uv();
}
