import { toJsonText } from "../../src/kit/json-text.ts";
import { inTransaction } from "../../src/store/transaction.ts";
import { syncAssets } from "../../src/store/assets.ts";
import type { Database } from "../../src/store/database.ts";
import { makeDag, makeVersion, NOON, serializedDag } from "./factories.ts";

/** An asset as a serialized schedule has it. */
export function anAsset(name: string, uri = name, more: Record<string, unknown> = {}) {
  return { __type: "asset", name, uri, group: "asset", extra: {}, ...more };
}

export type Encoded = { __type: string; [field: string]: unknown };

/** As an inlet or an outlet of a task. */
export function port({ __type, ...__var }: Encoded) {
  return { __type, __var };
}

export const all = (...objects: Encoded[]): Encoded => ({ __type: "asset_all", objects });
export const any = (...objects: Encoded[]): Encoded => ({ __type: "asset_any", objects });
export const alias = (name: string): Encoded => ({ __type: "asset_alias", name, group: "asset" });
export const nameRef = (name: string): Encoded => ({ __type: "asset_ref", name });

/** The timetable of a DAG that waits for this. */
export function waitsFor(asset_condition: Encoded) {
  return { timetable: { __type: "airflow.timetables.simple.AssetTriggeredTimetable", __var: { asset_condition } } };
}

/** A DAG with its first version and what it says about assets, as parsing its file leaves it. */
export async function makeAssetDag(
  db: Database,
  dagId: string,
  shape: { tasks?: Parameters<typeof serializedDag>[1]; dag?: Record<string, unknown> },
  columns: Parameters<typeof makeDag>[1] = {},
): Promise<void> {
  const timetable = shape.dag?.["timetable"] as { __type: string } | undefined;
  await makeDag(db, {
    dag_id: dagId,
    asset_expression: timetable && /Asset/.test(timetable.__type) ? toJsonText({ any: [] }) : null,
    timetable_partitioned: timetable?.__type.endsWith("PartitionedAssetTimetable") ?? false,
    ...columns,
  });
  await makeVersion(db, { dag_id: dagId }, shape);
  const serialized = toJsonText(serializedDag(dagId, shape.tasks, shape.dag));
  await inTransaction(db, (trx) => syncAssets(trx, [{ dagId, serialized }], NOON));
}
