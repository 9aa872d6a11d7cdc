import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** install.sh keeps the release that was there before, in the folder beside. */
const RELEASE_FOLDER = /^(\d+\.\d+\.\d+[\w.+-]*)-[0-9a-f]{12}$/;

/** How to go back to the release that was installed before this one. */
export function previousRelease(program: string): { start: string | undefined; install: string } {
  const folder = dirname(program);
  const beside = RELEASE_FOLDER.test(basename(program)) ? readdirSync(folder) : [];
  const [previous] = beside
    .filter((name) => RELEASE_FOLDER.test(name) && name !== basename(program))
    .filter((name) => existsSync(join(folder, name, "bin/leoflow")))
    .sort((a, b) => statSync(join(folder, b)).mtimeMs - statSync(join(folder, a)).mtimeMs);
  const version = RELEASE_FOLDER.exec(previous ?? "")?.[1];
  return {
    start: previous && join(folder, previous, "bin/leoflow lite"),
    install: `install it again with \`LEOFLOW_VERSION=${version ?? "<version>"} sh install.sh\``,
  };
}
