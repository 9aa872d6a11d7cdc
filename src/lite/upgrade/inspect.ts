import { UserError } from "../../kit/user-error.ts";
import { openDatabase } from "../../store/database.ts";
import { loadMigrations } from "../../store/migrations.ts";
import { readSchema, schemaError } from "../../store/schema-status.ts";
import { hasDatastore, withDatastore, type Datastore, type DatastoreOptions } from "../datastore.ts";
import { planCluster, type ClusterPlan } from "../postgres/cluster-plan.ts";
import { checkRoom, preflight, type Preflight } from "./preflight.ts";

/** What the next start will do to the database of a home, told without changing it. */
export interface Inspection {
  /** "empty": no database yet. "blocked": the next start would refuse. */
  status: "empty" | "current" | "pending" | "blocked";
  /** The schema version the database is at; undefined where it has none or cannot be told. */
  current: number | undefined;
  newest: number;
  postgres: ClusterPlan;
  preflight: Preflight | undefined;
  /** Why it is blocked. */
  problem: UserError | undefined;
}

/** Works while Leoflow runs, of whatever release, and while it is stopped. */
export async function inspect(
  options: DatastoreOptions,
  { snapshot, migrations = loadMigrations() }: { snapshot: boolean; migrations?: ReturnType<typeof loadMigrations> },
): Promise<Inspection> {
  const newest = migrations.at(-1)?.version ?? 0;
  const postgres = planCluster(options.paths);
  const base = { newest, postgres, current: undefined, preflight: undefined, problem: undefined };
  if (postgres.problem) return { ...base, status: "blocked", problem: postgres.problem };
  if (!hasDatastore(options.paths)) return { ...base, status: "empty" };
  return withDatastore({ ...options, clusterAsItIs: true }, "upgrade", async ({ database }: Datastore) => {
    const connection = openDatabase({ ...database, maxConnections: 1 });
    try {
      const verdict = await readSchema(connection.pool, migrations);
      if (verdict.kind !== "readable") {
        const current = verdict.kind === "newer" ? verdict.current : undefined;
        return { ...base, current, status: "blocked", problem: schemaError(verdict) } as const;
      }
      const { current } = verdict;
      const found = await preflight(connection.pool, verdict, { paths: options.paths, snapshot });
      const status = found.pending.length > 0 || postgres.kind === "upgrade" ? "pending" : "current";
      const problem = errorOf(() => checkRoom(found, options.paths.home));
      return { ...base, current, preflight: found, problem, status: problem ? "blocked" : status } as const;
    } finally {
      await connection.close();
    }
  });
}

function errorOf(check: () => void): UserError | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
}
