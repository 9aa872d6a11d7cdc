import { Type } from "typebox";
import { pythonIsoFormat } from "../../kit/instant.ts";
import { partitionedSchedule, type PartitionedSchedule } from "../../domain/partition/partitioned-schedule.ts";
import { findDagRow } from "../../store/query-dags.ts";
import {
  assetSchedules,
  countPendingPartitions,
  listPartitions,
  nextRunAssets,
  type NextRunAssetRow,
  type PartitionRow,
} from "../../store/ui-assets.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { notFound } from "../errors.ts";
import { instantOrNull, jsonOrNull } from "../serialize.ts";

/** What DAGs that wait for assets still wait for, and their partitions. */
export function assetRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;
  const DagParams = Type.Object({ dag_id: Type.String() });
  const noDag = (dagId: string) => notFound(`Dag with id ${dagId} was not found`);

  app.get("/next_run_assets/:dag_id", { schema: { params: DagParams } }, async ({ params }) => {
    const dag = await findDagRow(db, params.dag_id);
    if (!dag) throw noDag(params.dag_id);
    const rows = await nextRunAssets(db, dag.dag_id);
    const asset_expression = jsonOrNull(dag.asset_expression);
    if (!dag.timetable_partitioned) {
      return { asset_expression, events: rows.map((row) => eventOf(row)), pending_partition_count: null };
    }
    const schedule = await scheduleOf(dag.current_version_id);
    const [next] = await listPartitions(db, { dagId: dag.dag_id, hasRun: false }, { oldestFirst: true, limit: 1 });
    const events = rows.map((row) => partitionedEventOf(row, schedule, next));
    return { asset_expression, events, pending_partition_count: await countPendingPartitions(db, dag.dag_id) };
  });

  const ListQuery = Type.Object({
    dag_id: Type.Optional(Type.String()),
    has_created_dag_run_id: Type.Optional(Type.Boolean()),
  });
  app.get("/partitioned_dag_runs", { schema: { querystring: ListQuery } }, async (request) => {
    const { query } = request;
    const filter = { dagId: query.dag_id, hasRun: query.has_created_dag_run_id, teams: teamsOf(request) };
    const rows = await listPartitions(db, filter);
    if (rows.length === 0) {
      if (query.dag_id !== undefined && !(await findDagRow(db, query.dag_id))) throw noDag(query.dag_id);
      return { partitioned_dag_runs: [], total: 0, asset_expressions: null };
    }
    const dags = await assetSchedules(db, [...new Set(rows.map((row) => row.dag_id))]);
    const counted = new Map<string, (row: PartitionRow) => Counted>();
    for (const dag of dags) {
      const schedule = await scheduleOf(dag.current_version_id);
      const assets = await nextRunAssets(db, dag.dag_id);
      counted.set(dag.dag_id, (row) => sum(assets.map((asset) => progressOf(asset, schedule, row))));
    }
    return {
      partitioned_dag_runs: rows.map((row) => {
        const { received, required } = counted.get(row.dag_id)?.(row) ?? { received: 0, required: 0 };
        return {
          id: row.id,
          dag_id: row.dag_id,
          partition_key: row.partition_key,
          created_at: row.created_at && pythonIsoFormat(row.created_at),
          total_received: received,
          total_required: required,
          state: row.run_id === null ? "pending" : row.run_state,
          created_dag_run_id: row.run_id,
        };
      }),
      total: rows.length,
      asset_expressions:
        query.dag_id === undefined
          ? Object.fromEntries(dags.map((dag) => [dag.dag_id, jsonOrNull(dag.asset_expression)]))
          : null,
    };
  });

  const KeyQuery = Type.Object({ partition_key: Type.String() });
  app.get(
    "/pending_partitioned_dag_run/:dag_id",
    { schema: { params: DagParams, querystring: KeyQuery } },
    async ({ params, query }) => {
      const { partition_key } = query;
      const [row] = await listPartitions(
        db,
        { dagId: params.dag_id, partitionKey: partition_key, hasRun: false },
        { limit: 1 },
      );
      if (!row) throw notFound(`No PartitionedDagRun for dag=${params.dag_id} partition=${partition_key}`);
      const dag = await findDagRow(db, params.dag_id);
      const schedule = await scheduleOf(dag?.current_version_id ?? null);
      const assets = (await nextRunAssets(db, params.dag_id)).map((asset) => {
        const progress = progressOf(asset, schedule, row);
        // As Airflow counts here: all keys that came, needed or not.
        const received = progress.isRollup && !progress.failed ? progress.receivedKeys.length : progress.received;
        return {
          asset_id: asset.id,
          asset_name: asset.name,
          asset_uri: asset.uri,
          received: received >= progress.required && progress.required > 0,
          received_count: received,
          required_count: progress.required,
          received_keys: progress.receivedKeys,
          required_keys: progress.requiredKeys,
          is_rollup: progress.isRollup,
          mapper_error: progress.failed,
          asset_inactive: !asset.is_active,
        };
      });
      return {
        id: row.id,
        dag_id: row.dag_id,
        partition_key,
        created_at: row.created_at && pythonIsoFormat(row.created_at),
        updated_at: row.updated_at && pythonIsoFormat(row.updated_at),
        created_dag_run_id: row.run_id,
        assets,
        total_required: assets.reduce((total, asset) => total + asset.required_count, 0),
        total_received: assets.reduce((total, asset) => total + asset.received_count, 0),
        asset_expression: dag ? jsonOrNull(dag.asset_expression) : null,
      };
    },
  );

  async function scheduleOf(versionId: string | null): Promise<PartitionedSchedule | null> {
    return versionId === null ? null : partitionedSchedule((await context.graph(versionId)).timetable);
  }
}

/** An asset of a schedule as the UI shows it. */
function eventOf(row: NextRunAssetRow) {
  return {
    id: row.id,
    name: row.name,
    uri: row.uri,
    last_update: row.queued ? instantOrNull(row.last_update) : null,
    received_count: 0,
    required_count: 1,
    received_keys: [] as string[],
    required_keys: [] as string[],
    is_rollup: false,
    mapper_error: false,
    asset_inactive: !row.is_active,
  };
}

function partitionedEventOf(
  row: NextRunAssetRow,
  schedule: PartitionedSchedule | null,
  next: PartitionRow | undefined,
) {
  if (!next) return { ...eventOf(row), is_rollup: schedule?.mapperOf(row).rollup != null };
  const keys = keysOf(row, next);
  const progress = progressOf(row, schedule, next);
  // A key that came twice, or that is not needed, shows; only what is needed decides.
  const received = progress.failed ? 0 : keys.length;
  return {
    ...eventOf(row),
    last_update:
      row.queued && !progress.failed && received >= progress.required ? instantOrNull(row.last_update) : null,
    received_count: received,
    required_count: progress.required,
    received_keys: progress.receivedKeys,
    required_keys: progress.requiredKeys,
    is_rollup: progress.isRollup,
    mapper_error: progress.failed,
  };
}

interface Counted {
  received: number;
  required: number;
}

interface Progress extends Counted {
  isRollup: boolean;
  /** The mapper cannot say what is needed: the run never comes. */
  failed: boolean;
  receivedKeys: string[];
  requiredKeys: string[];
}

function keysOf(asset: NextRunAssetRow, row: PartitionRow): string[] {
  return row.received
    .filter(({ asset_id }) => asset_id === asset.id)
    .map(({ key }) => key)
    .sort();
}

/** Of what a partition needs of one asset, how much there is. */
function progressOf(asset: NextRunAssetRow, schedule: PartitionedSchedule | null, row: PartitionRow): Progress {
  const receivedKeys = keysOf(asset, row);
  const rollup = schedule?.mapperOf(asset).rollup ?? null;
  const plain = { isRollup: rollup !== null, failed: false, receivedKeys };
  if (rollup === null) {
    return { ...plain, received: receivedKeys.length > 0 ? 1 : 0, required: 1, requiredKeys: [row.partition_key] };
  }
  try {
    const required = rollup.toUpstream(row.partition_key);
    const received = receivedKeys.filter((key) => required.has(key)).length;
    return { ...plain, received, required: required.size, requiredKeys: [...required].sort() };
  } catch {
    return { isRollup: true, failed: true, received: 0, required: 1, receivedKeys: [], requiredKeys: [] };
  }
}

function sum(parts: readonly Counted[]): Counted {
  return parts.reduce(
    (total, part) => ({ received: total.received + part.received, required: total.required + part.required }),
    { received: 0, required: 0 },
  );
}
