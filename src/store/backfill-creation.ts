import { sql, type Transaction } from "kysely";
import { whyNotAgain, type BackfillSkip, type ReprocessBehavior } from "../domain/backfill.ts";
import type { DagRunState } from "../domain/states.ts";
import type { NextRun } from "../domain/timetable/timetable.ts";
import type { Instant } from "../kit/instant.ts";
import { toJsonText, type JsonText } from "../kit/json-text.ts";
import { clearEvents, clearLocked, publishAll, type Surgery } from "./clear.ts";
import { DEADLINES_OF_MADE_RUN } from "./deadlines.ts";
import type { Schema } from "./schema.ts";
import { selectTaskInstances } from "./task-selection.ts";
import { inTransaction, type Executor } from "./transaction.ts";

/** A run that a backfill is about, with the id it gets where it is made. */
export interface BackfillRun extends NextRun {
  runId: string;
}

export interface NewBackfill {
  dagId: string;
  from: Instant;
  to: Instant;
  reprocess: ReprocessBehavior;
  maxActiveRuns: number;
  /** Of all its runs; null: none, and those that run again keep theirs. */
  conf: JsonText | null;
  userName: string;
  /** Runs that exist and run again go on with the DAG's newest version. */
  runOnLatestVersion: boolean;
  /** In the order in which they are to run. */
  runs: readonly BackfillRun[];
}

export type BackfillCreation =
  | { kind: "created"; id: number }
  /** The DAG has an active backfill. */
  | { kind: "active" }
  | { kind: "no_dag" };

/** Runs of one statement. */
const CHUNK = 2_000;

interface Existing {
  id: number;
  run_id: string;
  state: DagRunState;
}

/** Which of these runs a backfill would make or run again. */
export async function wantedRuns<R extends NextRun>(
  db: Executor,
  dagId: string,
  runs: readonly R[],
  reprocess: ReprocessBehavior,
): Promise<R[]> {
  const wanted: R[] = [];
  for (const some of chunks(runs)) {
    const existing = await existingRuns(db, dagId, some);
    wanted.push(
      ...some.filter((run) => {
        const found = existing.get(keyOf(run));
        return found === undefined || whyNotAgain(found.state, reprocess) === null;
      }),
    );
  }
  return wanted;
}

/** Makes a backfill and its runs, and queues those again that it reprocesses: all of it or nothing. */
export async function createBackfill(surgery: Surgery, wanted: NewBackfill): Promise<BackfillCreation> {
  const now = surgery.kit.clock.now();
  const made = await inTransaction(surgery.db, async (trx) => {
    const dag = await trx
      .selectFrom("dag")
      .select(["current_version_id", "bundle_version"])
      .where("dag_id", "=", wanted.dagId)
      .where("current_version_id", "is not", null)
      .forKeyShare()
      .executeTakeFirst();
    if (!dag) return { kind: "no_dag" } as const;
    const id = await insertBackfill(trx, wanted, now);
    if (id === null) return { kind: "active" } as const;
    const killed: string[] = [];
    const dagRunIds: number[] = [];
    for (const [at, some] of chunks(wanted.runs).entries()) {
      const outcome = await makeRuns(trx, surgery, { id, wanted, some, firstOrdinal: at * CHUNK + 1 }, now);
      killed.push(...outcome.killed);
      dagRunIds.push(...outcome.dagRunIds);
    }
    return { kind: "created", id, events: clearEvents({ killed, dagRunIds }) } as const;
  });
  if (made.kind !== "created") return made;
  surgery.bus.publish({ kind: "backfill", backfillId: made.id });
  publishAll(surgery.bus, made.events);
  return { kind: "created", id: made.id };
}

async function insertBackfill(trx: Transaction<Schema>, wanted: NewBackfill, now: Instant): Promise<number | null> {
  const row = await trx
    .insertInto("backfill")
    .values({
      dag_id: wanted.dagId,
      from_date: wanted.from,
      to_date: wanted.to,
      dag_run_conf: wanted.conf,
      reprocess_behavior: wanted.reprocess,
      max_active_runs: wanted.maxActiveRuns,
      triggering_user_name: wanted.userName,
      created_at: now,
      updated_at: now,
    })
    .onConflict((conflict) => conflict.column("dag_id").where("completed_at", "is", null).doNothing())
    .returning("id")
    .executeTakeFirst();
  return row?.id ?? null;
}

interface Part {
  id: number;
  wanted: NewBackfill;
  some: readonly BackfillRun[];
  firstOrdinal: number;
}

async function makeRuns(
  trx: Transaction<Schema>,
  surgery: Surgery,
  part: Part,
  now: Instant,
): Promise<{ killed: string[]; dagRunIds: number[] }> {
  const { wanted, some } = part;
  const existing = await existingRuns(trx, wanted.dagId, some, { lock: true });
  const again: Existing[] = [];
  const fresh: BackfillRun[] = [];
  const fates = new Map<BackfillRun, BackfillSkip | Existing>();
  for (const run of some) {
    const found = existing.get(keyOf(run));
    const reason = found ? whyNotAgain(found.state, wanted.reprocess) : null;
    if (reason !== null) fates.set(run, reason);
    // A partition's earlier run stays as it is; another one is made beside it.
    else if (found && run.partitionKey === null) {
      fates.set(run, found);
      again.push(found);
    } else fresh.push(run);
  }
  const cleared = await runAgain(trx, surgery, part, again, now);
  const made = await insertRuns(trx, part, fresh, now);
  const rows = some.map((run, index) => {
    const fate = fates.get(run);
    // Someone else made it meanwhile.
    const outcome = fate ?? made.get(run.runId) ?? "in flight";
    return {
      dag_run_id: typeof outcome === "string" ? null : typeof outcome === "number" ? outcome : outcome.id,
      exception_reason: typeof outcome === "string" ? outcome : null,
      logical_date: run.logicalDate,
      partition_key: run.partitionKey,
      sort_ordinal: part.firstOrdinal + index,
    };
  });
  await sql`
    insert into backfill_dag_run (backfill_id, dag_run_id, exception_reason, logical_date, partition_key, sort_ordinal)
    select ${part.id}, dag_run_id, exception_reason, logical_date, partition_key, sort_ordinal
    from json_to_recordset(${toJsonText(rows)}::json) as r(dag_run_id bigint, exception_reason text,
      logical_date timestamptz, partition_key text, sort_ordinal integer)`.execute(trx);
  return { killed: cleared, dagRunIds: rows.flatMap(({ dag_run_id: id }) => (id === null ? [] : [id])) };
}

/** Clears finished runs and makes them the backfill's. Returns tries whose processes must end. */
async function runAgain(
  trx: Transaction<Schema>,
  surgery: Surgery,
  { id, wanted }: Part,
  runs: readonly Existing[],
  now: Instant,
): Promise<string[]> {
  if (runs.length === 0) return [];
  const selection = { dagId: wanted.dagId, runIds: runs.map((run) => run.run_id) };
  const tries = await selectTaskInstances(trx, selection, { lock: true });
  const cleared = await clearLocked(trx, surgery, tries, { runOnLatestVersion: wanted.runOnLatestVersion });
  await sql`
    update dag_run set backfill_id = ${id}, run_type = 'backfill', triggered_by = 'backfill',
      conf = coalesce(${wanted.conf}::json, conf), updated_at = ${now}::timestamptz
    where id = any(${runs.map((run) => run.id)}::bigint[])`.execute(trx);
  return cleared.kind === "cleared" ? cleared.killed : [];
}

/** Ids of the runs that were made, by run id. */
async function insertRuns(
  trx: Transaction<Schema>,
  { id, wanted }: Part,
  runs: readonly BackfillRun[],
  now: Instant,
): Promise<Map<string, number>> {
  if (runs.length === 0) return new Map();
  const rows = runs.map((run, index) => ({
    position: index,
    run_id: run.runId,
    logical_date: run.logicalDate,
    data_interval_start: run.logicalDate === null ? null : (run.dataInterval?.start ?? null),
    data_interval_end: run.logicalDate === null ? null : (run.dataInterval?.end ?? null),
    run_after: run.runAfter,
    partition_key: run.partitionKey,
    partition_date: run.partitionDate,
  }));
  const made = await sql<{ id: number; run_id: string }>`
    with wanted as (
      select * from json_to_recordset(${toJsonText(rows)}::json) as w(position integer, run_id text, logical_date timestamptz,
        data_interval_start timestamptz, data_interval_end timestamptz, run_after timestamptz, partition_key text,
        partition_date timestamptz)
    ), made as (
      insert into dag_run (dag_id, run_id, run_type, state, logical_date, data_interval_start, data_interval_end, run_after,
        queued_at, start_date, conf, triggered_by, triggering_user_name, dag_version_id, bundle_version, backfill_id,
        partition_key, partition_date)
      select dag.dag_id, wanted.run_id, 'backfill', 'queued', logical_date, data_interval_start, data_interval_end, run_after,
        ${now}::timestamptz, ${now}::timestamptz, coalesce(${wanted.conf}::json, '{}'), 'backfill', ${wanted.userName},
        current_version_id, bundle_version, ${id}, partition_key, partition_date
      from wanted, dag where dag.dag_id = ${wanted.dagId}
      order by position
      on conflict do nothing
      returning id, run_id, dag_id, dag_version_id, logical_date, queued_at
    ), ${DEADLINES_OF_MADE_RUN}
    select id, run_id from made`.execute(trx);
  return new Map(made.rows.map((row) => [row.run_id, row.id]));
}

/** The runs that exist for these times; of partitions the one that started last. */
async function existingRuns(
  db: Executor,
  dagId: string,
  runs: readonly NextRun[],
  { lock = false } = {},
): Promise<Map<string, Existing>> {
  const dates = runs.flatMap(({ logicalDate }) => (logicalDate === null ? [] : [logicalDate]));
  const partitions = runs.flatMap((run) =>
    run.logicalDate === null && run.partitionDate !== null ? [run.partitionDate] : [],
  );
  const { rows } = await sql<Existing & { logical_date: Instant | null; partition_date: Instant | null }>`
    select id, run_id, state, logical_date, partition_date from dag_run
    where dag_id = ${dagId}
      and (logical_date = any(${dates}::timestamptz[]) or partition_date = any(${partitions}::timestamptz[]))
    order by start_date nulls first, id
    ${lock ? sql`for no key update` : sql``}`.execute(db);
  const found = new Map<string, Existing>();
  for (const { id, run_id, state, logical_date, partition_date } of rows) {
    for (const key of [keyOfDate(logical_date), keyOfPartition(partition_date)]) {
      if (key !== null) found.set(key, { id, run_id, state });
    }
  }
  return found;
}

function keyOf(run: NextRun): string {
  return keyOfDate(run.logicalDate) ?? keyOfPartition(run.partitionDate) ?? run.runAfter;
}

function keyOfDate(at: Instant | null): string | null {
  return at && `date ${at}`;
}

function keyOfPartition(at: Instant | null): string | null {
  return at && `partition ${at}`;
}

function chunks<R>(runs: readonly R[]): (readonly R[])[] {
  return Array.from({ length: Math.ceil(runs.length / CHUNK) }, (_, at) => runs.slice(at * CHUNK, (at + 1) * CHUNK));
}
