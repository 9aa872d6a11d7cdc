import { toJsonText } from "../kit/json-text.ts";
import { Rounds } from "../kit/rounds.ts";
import type { Kit, Service } from "../kit/service.ts";
import { isSatisfied, keyText, leavesOf } from "../domain/asset/asset-condition.ts";
import type { DagGraph } from "../domain/dag-graph.ts";
import type { EventBus } from "../domain/events.ts";
import {
  assetConditionOf,
  partitionDateOf,
  partitionedSchedule,
  type PartitionedSchedule,
} from "../domain/partition/partitioned-schedule.ts";
import { dagRunId, randomSuffix } from "../domain/timetable/timetable.ts";
import {
  assetHolds,
  assetSchedule,
  consumeQueue,
  dagsWithAssetWork,
  dropPartitions,
  dropQueue,
  pendingPartitions,
  resolveLeaves,
  settlePartition,
  type AssetScheduleRow,
  type PendingPartition,
} from "../store/asset-runs.ts";
import { updateActiveAssets } from "../store/assets.ts";
import { createDagRun } from "../store/dag-run-creation.ts";
import type { VersionCache } from "../store/dag-versions.ts";
import type { Database } from "../store/database.ts";
import { inTransaction, type Trx } from "../store/transaction.ts";

export interface AssetRunCreatorDeps {
  db: Database;
  bus: EventBus;
  versions: VersionCache;
}

/** Whether the assets with these keys are enough. */
type Condition = (isUpdated: (key: string) => boolean) => boolean;

/**
 * Makes runs for DAGs whose assets were updated, the moment the update is written.
 *
 * 1. What was updated stands in the database: nothing is lost in a crash, and a DAG that may not run now (paused, broken, too
 *    many runs) finds it later.
 * 2. One DAG is looked at by one at a time, so that one update makes one run.
 */
export class AssetRunCreator implements Service {
  readonly #kit: Kit;
  readonly #deps: AssetRunCreatorDeps;
  readonly #rounds = new Rounds<string>((dagId) => this.#refresh(dagId));
  /** DAGs that have what they wait for, but too many runs. */
  readonly #full = new Set<string>();
  /** What can never come true is said once. */
  readonly #complaints = new Set<string>();
  #unsubscribe: (() => void)[] = [];
  #stopped = false;

  constructor(kit: Kit, deps: AssetRunCreatorDeps) {
    this.#kit = kit;
    this.#deps = deps;
  }

  async start(): Promise<void> {
    this.#stopped = false;
    const { bus } = this.#deps;
    this.#unsubscribe = [
      bus.on("assets-updated", ({ dagIds }) => dagIds.forEach((dagId) => this.refresh(dagId))),
      bus.on("dag", ({ dagId }) => this.refresh(dagId)),
    ];
    await this.runOnce();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe();
    await this.settled();
  }

  /** The backstop: looks at every DAG that has something queued, and at which assets are still referred to. */
  async runOnce(): Promise<void> {
    await inTransaction(this.#deps.db, (trx) => updateActiveAssets(trx, this.#kit.clock.now()));
    for (const dagId of await dagsWithAssetWork(this.#deps.db)) this.refresh(dagId);
  }

  /** A run ended: its DAG may have another. */
  runFinished(dagId: string): void {
    if (this.#full.has(dagId)) this.refresh(dagId);
  }

  /** Looks at those again that had too many runs; a run may have ended without anyone telling. */
  check(): void {
    for (const dagId of this.#full) this.refresh(dagId);
  }

  refresh(dagId: string): void {
    if (!this.#stopped) this.#rounds.ask(dagId);
  }

  /** Resolves when no DAG is being looked at. */
  settled(): Promise<void> {
    return this.#rounds.settled();
  }

  async #refresh(dagId: string): Promise<void> {
    try {
      await this.#create(dagId);
    } catch (error) {
      this.#kit.logger.error({ err: error, dagId }, "no run could be made for updated assets; it is tried again");
    }
  }

  async #create(dagId: string): Promise<void> {
    const { db, bus } = this.#deps;
    this.#full.delete(dagId);
    if ((await dagsWithAssetWork(db, dagId)).length === 0) return;
    const made = await inTransaction(db, async (trx) => {
      const schedule = await assetSchedule(trx, dagId);
      if (!schedule || schedule.is_stale || schedule.current_version_id === null) return [];
      if (!schedule.has_assets) {
        await dropQueue(trx, dagId);
        return [];
      }
      const { graph } = await this.#deps.versions.get(schedule.current_version_id);
      const ofPartitions = schedule.pending_partitions > 0 ? await this.#createPartitions(trx, graph) : [];
      // One DAG makes runs one way at a time.
      if (ofPartitions.length > 0) return ofPartitions;
      const id = await this.#createForQueue(trx, graph, schedule);
      return id === null ? [] : [id];
    });
    for (const id of made) bus.publish({ kind: "dag-run", dagRunId: id });
  }

  async #createForQueue(trx: Trx, graph: DagGraph, schedule: AssetScheduleRow): Promise<number | null> {
    const { queued } = schedule;
    const holds = assetHolds(schedule);
    if (queued.length === 0 || holds.some((hold) => hold !== "max_active_runs")) return null;
    const updated = new Set(queued.map(keyText));
    const isSatisfiedBy = await this.#condition(trx, graph);
    if (!isSatisfiedBy((key) => updated.has(key))) return null;
    if (holds.length > 0) {
      this.#full.add(graph.dagId);
      return null;
    }
    const runAfter = queued.map(({ created_at }) => created_at).reduce((a, b) => (a > b ? a : b));
    const id = await this.#createRun(trx, graph.dagId, { runAfter });
    if (id === null) return null;
    const run = { id, dagId: graph.dagId, runAfter, catchup: graph.catchup };
    const events = await consumeQueue(trx, run, queued);
    this.#kit.logger.info({ dagId: graph.dagId, assets: queued.length, events }, "made a run for updated assets");
    return id;
  }

  /** What the DAG's schedule says of assets that were updated. */
  async #condition(trx: Trx, graph: DagGraph): Promise<Condition> {
    const condition = assetConditionOf(graph.timetable);
    if (condition === null) return () => false;
    const resolution = await resolveLeaves(trx, [...leavesOf(condition)]);
    return (isUpdated) => isSatisfied(condition, (asset) => isUpdated(keyText(asset)), resolution);
  }

  /** `_create_dagruns_for_partitioned_asset_dags`: as there, neither a pause nor max_active_runs holds these back. */
  async #createPartitions(trx: Trx, graph: DagGraph): Promise<number[]> {
    const schedule = partitionedSchedule(graph.timetable);
    const fingerprint = schedule?.fingerprint ?? "{}";
    const pending = await pendingPartitions(trx, graph.dagId);
    const stale = pending.filter((partition) => partition.rollup_fingerprint !== fingerprint);
    if (stale.length > 0) {
      this.#kit.logger.info(
        { dagId: graph.dagId, partitions: stale.length },
        "dropped waiting partitions: the DAG's partition mappers have changed",
      );
      await dropPartitions(
        trx,
        stale.map(({ id }) => id),
      );
    }
    const made: number[] = [];
    if (schedule === null || stale.length === pending.length) return made;
    const isSatisfiedBy = await this.#condition(trx, graph);
    for (const partition of pending) {
      if (partition.rollup_fingerprint !== fingerprint) continue;
      const isComplete = this.#completeOf(graph.dagId, schedule, partition);
      if (!isSatisfiedBy((key) => isComplete.get(key) ?? false)) continue;
      const now = this.#kit.clock.now();
      const assets = [...partition.received.values()].map(({ asset }) => asset);
      const { date, problem } = partitionDateOf(schedule, assets, partition.partition_key, partition.partition_date);
      if (problem !== null) {
        this.#kit.logger.warn({ dagId: graph.dagId, partition: partition.partition_key, problem }, "no partition date");
      }
      const run = { runAfter: now, partitionKey: partition.partition_key, partitionDate: date };
      const id = await this.#createRun(trx, graph.dagId, run);
      if (id === null) continue;
      await settlePartition(trx, partition.id, id, now);
      made.push(id);
    }
    return made;
  }

  /** By key of an asset: whether the partition has all that it needs of it. */
  #completeOf(dagId: string, schedule: PartitionedSchedule, partition: PendingPartition): Map<string, boolean> {
    const complete = new Map<string, boolean>();
    for (const [key, { asset, keys }] of partition.received) {
      const { rollup } = schedule.mapperOf(asset);
      try {
        const wanted = rollup?.toUpstream(partition.partition_key);
        const verdict = wanted ? rollup?.isSatisfied(keys, wanted) : undefined;
        if (verdict?.unreachable) this.#complain(dagId, key, verdict.unreachable);
        complete.set(key, verdict === undefined || (verdict.satisfied && verdict.unreachable === null));
      } catch (error) {
        this.#complain(dagId, key, error instanceof Error ? error.message : String(error));
        complete.set(key, false);
      }
    }
    return complete;
  }

  #complain(dagId: string, asset: string, problem: string): void {
    const complaint = JSON.stringify([dagId, asset]);
    if (this.#complaints.has(complaint)) return;
    this.#complaints.add(complaint);
    this.#kit.logger.warn({ dagId, asset, problem }, "a partition can never get what it waits for");
  }

  async #createRun(
    trx: Trx,
    dagId: string,
    run: Pick<Parameters<typeof createDagRun>[1], "runAfter" | "partitionKey" | "partitionDate">,
  ): Promise<number | null> {
    const identity = { runAfter: run.runAfter, logicalDate: null };
    const made = await createDagRun(trx, {
      dagId,
      runId: dagRunId("asset_triggered", identity, randomSuffix),
      runType: "asset_triggered",
      logicalDate: null,
      dataIntervalStart: null,
      dataIntervalEnd: null,
      conf: toJsonText({}),
      triggeredBy: "asset",
      triggeringUserName: null,
      ...run,
    });
    return made.kind === "created" ? made.id : null;
  }
}
