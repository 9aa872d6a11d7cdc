import { mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect } from "vitest";
import { resolvePaths, type LeoflowPaths } from "../../src/lite/paths.ts";
import { planUninstall, uninstall, type UninstallOptions, type UninstallPlan } from "../../src/lite/uninstall.ts";
import { makeFakeRelease } from "../release/fake-release.ts";
import { createUser, type User } from "../release/installer.ts";
import { contentsOf } from "./machine.ts";

/** What a plain uninstall keeps: settings and database, and what else is the user's. */
export const KEPT = ["config.yaml", "managed-postgres/data/PG_VERSION", "managed-postgres/password", "setup.json"];
export const KEPT_TOO = ["logs/leoflow.log", "notes", "snapshots/one.tar.gz", "versions/abc/dag.py"];
const MADE_AGAIN = [
  "cache/ui",
  "managed-postgres/postgres-18.6.3/bin/postgres",
  "python/uv/bin/uv",
  "venv/.leoflow-deps",
  "venvs/etl/pyvenv.cfg",
];

/** A user with an installed program and a home, as far as an uninstall looks at them. */
export interface InstalledHome {
  readonly user: User;
  /** A test may have them name another program. */
  paths: LeoflowPaths;
  readonly workspace: () => string;
  readonly options: (purge: boolean) => UninstallOptions;
  readonly plan: (purge?: boolean) => Promise<UninstallPlan>;
  /** Returns what went wrong. */
  readonly remove: (purge?: boolean) => Promise<string[]>;
}

/** Each test of the file gets one of its own. */
export function useInstalledHome(): InstalledHome {
  let user: User;
  let paths: LeoflowPaths;
  beforeEach(async () => {
    user = createUser();
    makeFakeRelease(user.releases, "0.1.0");
    const { code, output } = await user.install({ PATH: process.env["PATH"], SHELL: "/bin/dash" });
    expect(code, output).toBe(0);
    paths = { ...resolvePaths(join(user.home, ".leoflow")), program: realpathSync(join(user.lib, "current")) };
    writeHome(paths, workspace());
  });
  afterEach(() => user.remove());

  const workspace = () => join(user.home, "my dags");
  const options = (purge: boolean) => ({ paths, environment: { userHome: user.home }, purge });
  const plan = async (purge = false) => {
    const found = await planUninstall(options(purge));
    if (!found) throw new Error("there is something to remove");
    return found;
  };
  return {
    get user() {
      return user;
    },
    get paths() {
      return paths;
    },
    set paths(others) {
      paths = others;
    },
    workspace,
    options,
    plan,
    async remove(purge = false) {
      const problems = await uninstall(options(purge), await plan(purge), { onStep: () => undefined });
      return problems.map(({ path, problem }) => `${path}: ${problem}`);
    },
  };
}

function writeHome(paths: LeoflowPaths, workspace: string): void {
  for (const file of [...KEPT, ...KEPT_TOO, ...MADE_AGAIN]) {
    mkdirSync(dirname(join(paths.home, file)), { recursive: true });
    writeFileSync(join(paths.home, file), file);
  }
  writeFileSync(paths.config, `# mine\nworkspace: ${workspace}\nfernet_key: ${"A".repeat(43)}=\n`);
  mkdirSync(workspace);
  writeFileSync(join(workspace, "dag.py"), "print()");
}

export const filesIn = (folder: string) =>
  Object.entries(contentsOf(folder))
    .filter(([, kind]) => kind.startsWith("file"))
    .map(([name]) => name)
    .sort();
