import type { DagGraph, TaskNode } from "../../domain/dag-graph.ts";
import type { InstanceSnapshot } from "../../domain/decision.ts";
import { byImportance, competeFor, PARALLELISM, Slots, type Claim, type SlotLimit } from "../../domain/slots.ts";
import { isWithinTeams } from "../../domain/team.ts";
import type { LiveRunRow } from "../../store/live-runs.ts";
import { poolSizes } from "../../store/pool-sizes.ts";
import { teamsOfDags } from "../../store/teams.ts";
import { scheduledClaims, slotHolders, type ClaimRow } from "../../store/waiting-work.ts";
import type { NamedTaskInstance, Reason } from "./why-contract.ts";
import { listed, named, taskName, type WhyContext } from "./why-reason.ts";

/** Waiting task instances of at least the same weight that are looked through for those that go first. */
const WAITING = 1_000;

/** Says which limits hold a scheduled task instance, by the same `Slots` that the scheduler asks, filled from the database. */
export class SlotReader {
  readonly #context: WhyContext;
  readonly #run: LiveRunRow;
  readonly #graph: DagGraph;
  readonly #parallelism: number;

  constructor(context: WhyContext, run: LiveRunRow, graph: DagGraph) {
    this.#context = context;
    this.#run = run;
    this.#graph = graph;
    this.#parallelism = context.parallelism ?? PARALLELISM;
  }

  async whyNot(ti: InstanceSnapshot, task: TaskNode): Promise<Reason[]> {
    const { dag_id: dagId, run_id: runId } = this.#run;
    const claim: Claim = {
      id: ti.id,
      dagRunId: this.#run.id,
      dagId,
      task,
      mapIndex: ti.mapIndex,
      runOrder: this.#run.logical_date ?? this.#run.run_after,
    };
    const { db, multiTeam } = this.#context;
    const [pools, rows] = await Promise.all([
      poolSizes(db, multiTeam),
      slotHolders(db, { pool: task.pool, dagId, taskId: task.taskId }),
    ]);
    const slots = new Slots(this.#parallelism);
    slots.setPools(pools);
    for (const row of rows) slots.record(row.claim, row.state);
    const limits = slots.whyNot(claim, this.#graph);
    const name = taskName({ task_id: ti.taskId, map_index: ti.mapIndex });
    if (limits.length === 0) {
      const itself = { dag_id: dagId, run_id: runId, task_id: ti.taskId, map_index: ti.mapIndex, state: ti.state };
      return [
        { code: "being_decided", message: `${name} is scheduled, and there is room for it.`, task_instances: [itself] },
      ];
    }
    const byId = new Map(rows.map((row) => [row.claim.id, row]));
    const reasons: Reason[] = [];
    for (const limit of limits) {
      const holders = await this.#shown(slots.holders(limit, claim).flatMap(({ id }) => byId.get(id) ?? []));
      const pool = pools.find((one) => one.pool === task.pool);
      reasons.push({ ...this.#reached(limit, { name, task, pool, holders }), ...instancesOf(holders) });
    }
    return [...reasons, ...(await this.#ahead(claim, limits, name))];
  }

  #reached(
    limit: SlotLimit,
    {
      name,
      task,
      pool,
      holders,
    }: { name: string; task: TaskNode; pool: { slots: number } | undefined; holders: Shown },
  ): Reason {
    const who = whoseNames(holders);
    switch (limit) {
      case "parallelism":
        return {
          code: limit,
          limit: this.#parallelism,
          message: `All ${this.#parallelism} workers (parallelism) are taken by ${who}.`,
        };
      case "unknown_pool":
        return { code: limit, message: `${name} wants pool ${task.pool}, and there is no such pool.` };
      case "pool_of_team":
        return { code: limit, message: `${name} wants pool ${task.pool}, which belongs to another team.` };
      case "pool": {
        const occupied = holders.all.reduce((sum, { claim }) => sum + claim.task.poolSlots, 0);
        const slots = pool?.slots ?? 0;
        const needs = `${task.poolSlots} slot${task.poolSlots === 1 ? "" : "s"}`;
        const taken = holders.all.length === 0 ? "" : `, taken by ${who}`;
        return {
          code: limit,
          message: `${name} needs ${needs} of pool ${task.pool}, where ${occupied} of ${slots} are in use${taken}.`,
          pool: { name: task.pool, slots, occupied },
        };
      }
      case "max_active_tasks": {
        const max = this.#graph.maxActiveTasks;
        return {
          code: limit,
          limit: max,
          message: `max_active_tasks=${max} of the DAG is reached in this run by ${who}.`,
        };
      }
      case "max_active_tis_per_dag":
      case "max_active_tis_per_dagrun": {
        const max = (limit === "max_active_tis_per_dag" ? task.maxActiveTisPerDag : task.maxActiveTisPerDagrun) ?? 0;
        return { code: limit, limit: max, message: `${limit}=${max} of task ${task.taskId} is reached by ${who}.` };
      }
    }
  }

  /** Who else waits for the same, and is served first. */
  async #ahead(claim: Claim, limits: readonly SlotLimit[], name: string): Promise<Reason[]> {
    const waiting = await scheduledClaims(this.#context.db, claim.task.priorityWeightTotal, WAITING);
    const first = waiting.filter(
      (other) =>
        other.claim.id !== claim.id &&
        byImportance(other.claim, claim) < 0 &&
        limits.some((limit) => competeFor(limit, other.claim, claim)),
    );
    if (first.length === 0) return [];
    const shown = await this.#shown(first);
    const message = `Before ${name} in the queue (priority weight, then the earlier run): ${whoseNames(shown)}.`;
    return [{ code: "goes_first", message, ...instancesOf(shown) }];
  }

  /** Which of them may be named. */
  async #shown(all: readonly ClaimRow[]): Promise<Shown> {
    const { db, teams } = this.#context;
    if (teams === null) return { all, own: all };
    const owners = await teamsOfDags(db, [...new Set(all.map(({ claim }) => claim.dagId))]);
    return { all, own: all.filter(({ claim }) => isWithinTeams(owners.get(claim.dagId), teams)) };
  }
}

interface Shown {
  all: readonly ClaimRow[];
  /** Those of the asker's teams, and of nobody. */
  own: readonly ClaimRow[];
}

function whoseNames({ all, own }: Shown): string {
  const { shown, more } = named(own, all.length);
  const nameOf = ({ claim, runId }: ClaimRow) =>
    `${claim.dagId}.${taskName({ task_id: claim.task.taskId, map_index: claim.mapIndex })} of ${runId}`;
  return shown.length === 0 ? `${more} of other teams` : listed(shown.map(nameOf), more);
}

function instancesOf({ all, own }: Shown): { task_instances?: NamedTaskInstance[]; more?: number } {
  if (all.length === 0) return {};
  const { shown, more } = named(own, all.length);
  return {
    task_instances: shown.map(({ claim, runId, state }) => ({
      dag_id: claim.dagId,
      run_id: runId,
      task_id: claim.task.taskId,
      map_index: claim.mapIndex,
      state,
      pool_slots: claim.task.poolSlots,
    })),
    ...(more === undefined ? {} : { more }),
  };
}
