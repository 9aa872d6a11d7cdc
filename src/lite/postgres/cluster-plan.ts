import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../kit/user-error.ts";
import type { LeoflowPaths } from "../paths.ts";
import { majorOf, newestInstalled, pinnedPostgresVersion } from "./install.ts";

/** What a start does about PostgreSQL, told from the home alone. */
export interface ClusterPlan {
  /** "new": no data yet. "current": the data fits. "upgrade": the data is an older major version's. */
  kind: "new" | "current" | "upgrade" | "newer";
  /** "18"; of the data there is. */
  dataMajor: string | undefined;
  /** The version that will run: what this release pins, or a newer one of the same major that another release installed. */
  programs: string;
  /** The newest version of the data's major whose programs are here. */
  installed: string | undefined;
  /** Why nothing can be done. */
  problem: UserError | undefined;
}

export function planCluster(paths: LeoflowPaths, pinned = pinnedPostgresVersion(paths)): ClusterPlan {
  const dataMajor = majorOfData(paths.managedPostgres);
  const installed = dataMajor === undefined ? undefined : newestInstalled(paths, dataMajor);
  const pinnedMajor = majorOf(pinned);
  const base = { dataMajor, installed, problem: undefined };
  if (dataMajor === undefined) {
    const programs = newestInstalled(paths, pinnedMajor, pinned) ?? pinned;
    return { ...base, kind: "new", programs, problem: refuseRemains(join(paths.managedPostgres, "data")) };
  }
  if (Number(dataMajor) > Number(pinnedMajor)) {
    const problem = new UserError(
      `the database in ${paths.managedPostgres} is PostgreSQL ${dataMajor}'s, but this release of Leoflow brings PostgreSQL ` +
        `${pinnedMajor}: an older \`leoflow\` is being run against a newer database. Nothing was changed`,
      { fix: "install the newer release again, or restore a backup made before the upgrade into another LEOFLOW_HOME" },
    );
    return { ...base, kind: "newer", programs: pinned, problem };
  }
  if (dataMajor !== pinnedMajor) return { ...base, kind: "upgrade", programs: pinned };
  return { ...base, kind: "current", programs: newestInstalled(paths, pinnedMajor, pinned) ?? pinned };
}

/** A folder of data that has lost its PG_VERSION is somebody's database, and never room for a new one. */
function refuseRemains(data: string): UserError | undefined {
  if (!existsSync(data) || readdirSync(data).length === 0) return undefined;
  return new UserError(`${data} holds files but no database that PostgreSQL can read: PG_VERSION is missing`, {
    fix: `\`mv ${data} ${data}.damaged\`, then restore a backup (\`leoflow lite restore -i FILE\`) or begin with an empty database (\`leoflow lite\`)`,
  });
}

/** The major version of the data; where a swap was cut short, of what was there before it. */
export function majorOfData(managedPostgres: string): string | undefined {
  const old = existsSync(managedPostgres)
    ? readdirSync(managedPostgres).filter((name) => /^data\.old-\d+$/.test(name))
    : [];
  for (const name of ["data", ...old]) {
    const file = join(managedPostgres, name, "PG_VERSION");
    if (existsSync(file)) return majorOf(readFileSync(file, "utf8").trim());
  }
  return undefined;
}
