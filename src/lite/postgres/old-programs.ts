import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../kit/user-error.ts";
import type { LeoflowPaths } from "../paths.ts";
import type { Progress } from "../progress.ts";
import type { Toolchain } from "../python/toolchain.ts";
import { installPostgres, newestInstalled, programsOf } from "./install.ts";

/** The last release of each major that Leoflow has used, with the hashes of its wheels: what its data can be read with. */
export const LAST_OF_MAJOR: Record<string, { version: string; hashes: readonly string[] }> = {
  18: {
    version: "18.6.3",
    hashes: [
      "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
      "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
      "256031b561caa1e32247fc8a980d57eb614f4989b210a5c6ad45a72ece2fcc9e",
      "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
      "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
      "4d8277d743e3e4053d353fd9d8ecfdd89b8df8f0cd67c0ded73ffe538893c3b5",
    ],
  },
};

/** Programs that read data of a major: those that a release before left here, else the last of that major is installed. */
export async function programsForMajor(
  options: { paths: LeoflowPaths; progress: Progress; toolchain: Toolchain },
  major: string,
  known = LAST_OF_MAJOR,
): Promise<string> {
  const { paths } = options;
  const present = newestInstalled(paths, major);
  if (present !== undefined) return programsOf(paths, present);
  const last = known[major];
  if (!last) {
    throw new UserError(
      `the database in ${paths.managedPostgres} was made by PostgreSQL ${major}, whose programs are needed once more to bring it to ` +
        "this release's, but they are not here",
      {
        fix:
          `install the release of Leoflow that used PostgreSQL ${major}, run \`leoflow lite\` once, and then this release again; ` +
          "or restore a backup: that needs no older PostgreSQL",
      },
    );
  }
  mkdirSync(paths.managedPostgres, { recursive: true, mode: 0o700 });
  const requirements = join(paths.managedPostgres, `postgres-${last.version}.lock`);
  const hashes = last.hashes.map((hash) => ` --hash=sha256:${hash}`).join("");
  writeFileSync(requirements, `embedded-postgres==${last.version}${hashes}\n`);
  try {
    return await installPostgres(options, last.version, requirements);
  } finally {
    rmSync(requirements, { force: true });
  }
}
