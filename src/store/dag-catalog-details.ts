import { sql, type Transaction } from "kysely";
import type { Instant } from "../kit/instant.ts";
import { fromJsonText } from "../kit/json-text.ts";
import type { ParsedDag } from "../domain/parse-result.ts";
import type { Schema } from "./schema.ts";

const NONEXISTENT_POOL = "non-existent pool";
/** Airflow's DagWarningType; its API knows no others. */
const WARNING_TYPES: readonly string[] = ["asset conflict", NONEXISTENT_POOL, "runtime varying value"];

export interface PoolUse {
  dagId: string;
  pools: readonly string[];
}

/** The pools a DAG's tasks name. */
export function poolsOf(dag: ParsedDag): PoolUse {
  const { dag: body } = fromJsonText<{
    dag?: { tasks?: { __var?: { pool?: unknown; partial_kwargs?: { pool?: unknown } } }[] };
  }>(dag.serialized);
  const pools = (body?.tasks ?? []).flatMap(({ __var: task }) => [task?.pool, task?.partial_kwargs?.pool]);
  return { dagId: dag.dagId, pools: [...new Set(pools.filter((pool) => typeof pool === "string"))].sort() };
}

export async function replaceTags(trx: Transaction<Schema>, dags: readonly ParsedDag[]): Promise<void> {
  const tags = dags.flatMap(({ dagId, tags }) => tags.map((name) => ({ dagId, name })));
  const dagIds = tags.map(({ dagId }) => dagId);
  const names = tags.map(({ name }) => name);
  await sql`
    with wanted as (
      select dag_id, name from unnest(${dagIds}::text[], ${names}::text[]) as wanted (dag_id, name)
    ), dropped as (
      delete from dag_tag
      where dag_id = any(${dags.map(({ dagId }) => dagId)}) and (dag_id, name) not in (select dag_id, name from wanted)
    )
    insert into dag_tag (dag_id, name) select dag_id, name from wanted
    on conflict do nothing`.execute(trx);
}

/** The warnings of these DAGs are now exactly these, and those of pools that do not exist (in Airflow's words). */
export async function replaceWarnings(
  trx: Transaction<Schema>,
  dags: readonly PoolUse[],
  warnings: readonly { dagId: string; warningType: string; message: string }[],
  at: Instant,
): Promise<void> {
  const ids = new Set(dags.map(({ dagId }) => dagId));
  const used = [...new Set(dags.flatMap(({ pools }) => pools))];
  const { rows } = used.length
    ? await sql<{ pool: string }>`select pool from pool where pool = any(${used})`.execute(trx)
    : { rows: [] };
  const existing = new Set(rows.map(({ pool }) => pool));
  const poolWarnings = dags
    .map(({ dagId, pools }) => ({ dagId, missing: pools.filter((pool) => !existing.has(pool)) }))
    .filter(({ missing }) => missing.length > 0)
    .map(({ dagId, missing }) => ({
      dag_id: dagId,
      warning_type: NONEXISTENT_POOL,
      message: `Dag '${dagId}' references non-existent pools: [${missing.map((pool) => `'${pool}'`).join(", ")}]`,
      timestamp: at,
    }));
  const others = warnings
    .filter(({ dagId, warningType }) => ids.has(dagId) && WARNING_TYPES.includes(warningType))
    .map(({ dagId, warningType, message }) => ({ dag_id: dagId, warning_type: warningType, message, timestamp: at }));
  await trx
    .deleteFrom("dag_warning")
    .where("dag_id", "in", [...ids])
    .execute();
  const all = [...others, ...poolWarnings];
  if (all.length === 0) return;
  await trx
    .insertInto("dag_warning")
    .values(all)
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}
