import type { Instant } from "../kit/instant.ts";
import type { PreviousRun, SkipRecord } from "./decision.ts";
import { instanceCount, relevantIndexes, type MappingFacts } from "./mapping.ts";
import type { PlannedTask } from "./run-plan.ts";
import { isFinished, type TaskInstanceState } from "./states.ts";
import type { Row, StateCounts, TaskRows } from "./task-rows.ts";
import { evaluateSetups, evaluateTriggerRule, type UpstreamTally } from "./trigger-rule.ts";

/** Everything a task instance's fate depends on. */
export interface RunFacts extends MappingFacts {
  now: Instant;
  catchup: boolean;
  previous: PreviousRun | null;
  skips: ReadonlyMap<string, ReadonlyMap<number, SkipRecord>>;
}

export type Judgement =
  | { kind: "ready" }
  | { kind: "becomes"; state: "skipped" | "upstream_failed" | "removed" }
  | { kind: "blocked"; by: "trigger-rule" | "mapped-dependency" | "waiting" | "past" };

/** Tasks of the run before that must have succeeded, or been skipped, first. */
export interface PastHold {
  rule: "depends_on_past" | "wait_for_downstream";
  taskIds: readonly string[];
}

/**
 * Judges the instances of one task as `TaskInstance.are_dependencies_met` does: trigger rule with setups and teardowns,
 * mapped dependencies, earlier skips, retry and reschedule times, the previous run. Airflow looks at these in no fixed order;
 * here a state that one of them gives comes before a wait that another asks for.
 */
export class TaskJudge {
  readonly #task: PlannedTask;
  readonly #facts: RunFacts;
  readonly #ownCount: number | null;
  /** Kept between the instances of the task. */
  #sharedCounts: Map<number, number | null> | null = null;
  readonly #tallies: { tasks: readonly number[]; tally: UpstreamTally }[] = [];

  constructor(task: PlannedTask, facts: RunFacts) {
    this.#task = task;
    this.#facts = facts;
    this.#ownCount = task.inMappedGroup ? instanceCount(task.expandInputs, facts) : null;
  }

  judge(row: Row, options: { ignoreWaiting?: boolean } = {}): Judgement {
    const rule = this.#byTriggerRule(row);
    if (rule.kind === "becomes" && rule.state === "upstream_failed") return rule;
    const dependency = this.#byMappedDependencies();
    if (dependency.kind === "becomes") return dependency;
    if (rule.kind === "becomes") return rule;
    if (this.skippedBy(row) !== null) return { kind: "becomes", state: "skipped" };
    if (rule.kind === "blocked") return rule;
    if (dependency.kind === "blocked") return dependency;
    if (options.ignoreWaiting !== true && this.#isWaiting(row)) return { kind: "blocked", by: "waiting" };
    return this.pastHold() ? { kind: "blocked", by: "past" } : { kind: "ready" };
  }

  /** What the rule of this instance looks at, and what setups and the scope of a teardown add to it. */
  upstream({ mapIndex }: Row): { taskId: string; rows: Row[] }[] {
    const { upstream, indirectSetups, teardownScope } = this.#task;
    return [...new Set([...upstream, ...indirectSetups, ...teardownScope])].map((number) => ({
      taskId: this.#facts.plan.tasks[number]?.node.taskId ?? "",
      rows: this.#relevantRows(number, mapIndex),
    }));
  }

  #byTriggerRule({ mapIndex }: Row): Judgement {
    const { node, upstream, indirectSetups, teardownScope } = this.#task;
    if (upstream.length === 0 || node.triggerRule === "always") return { kind: "ready" };
    if (!node.isTeardown && indirectSetups.length > 0) {
      const { becomes, met } = evaluateSetups(this.#tally(indirectSetups, mapIndex), mapIndex);
      if (becomes) return { kind: "becomes", state: becomes };
      if (!met) {
        const own = evaluateTriggerRule(node.triggerRule, this.#tally(upstream, mapIndex), mapIndex).becomes;
        return own ? { kind: "becomes", state: own } : { kind: "blocked", by: "trigger-rule" };
      }
    }
    const { becomes, met } = evaluateTriggerRule(node.triggerRule, this.#tally(upstream, mapIndex), mapIndex);
    if (becomes) return { kind: "becomes", state: becomes };
    if (!met) return { kind: "blocked", by: "trigger-rule" };
    if (node.isTeardown && teardownScope.length > 0) {
      const scope = this.#tally(teardownScope, mapIndex);
      if (scope.done < scope.expected) return { kind: "blocked", by: "trigger-rule" };
    }
    return { kind: "ready" };
  }

  /** Counts the relevant instances of these tasks; the same for all instances unless mapped groups are shared. */
  #tally(tasks: readonly number[], mapIndex: number): UpstreamTally {
    const known = this.#tallies.find((kept) => kept.tasks === tasks);
    if (known) return known.tally;
    const tally = emptyTally();
    const { tasks: planned } = this.#facts.plan;
    for (const number of tasks) this.#count(number, mapIndex, tally);
    if (!tasks.some((number) => planned[number]?.needsExpansion)) {
      // Airflow counts tasks here, so that a task without an instance is waited for in vain.
      tally.expected = tasks.length;
      tally.expectedSetup = tasks.filter((number) => planned[number]?.node.isSetup).length;
    }
    if (!this.#task.inMappedGroup) this.#tallies.push({ tasks, tally });
    return tally;
  }

  #count(number: number, mapIndex: number, tally: UpstreamTally): void {
    const rows = this.#facts.rows[number];
    const isSetup = this.#facts.plan.tasks[number]?.node.isSetup ?? false;
    if (!rows) return;
    const relevant = this.#task.inMappedGroup ? this.#relevant(number, mapIndex) : null;
    if (relevant === null) countAll(rows.counts, isSetup, tally);
    else for (const row of rowsWithin(rows, relevant)) countOne(row.state, isSetup, tally);
  }

  #relevantRows(number: number, mapIndex: number): Row[] {
    const rows = this.#facts.rows[number];
    if (!rows) return [];
    const relevant = this.#task.inMappedGroup ? this.#relevant(number, mapIndex) : null;
    return relevant === null ? rows.all() : [...rowsWithin(rows, relevant)];
  }

  #relevant(number: number, mapIndex: number): ReturnType<typeof relevantIndexes> {
    const { fastTriggered, expansionDependencies, sharedGroups } = this.#task;
    if (mapIndex < 0 && fastTriggered && !expansionDependencies.has(number)) return null;
    const shared = sharedGroups.get(number);
    if (!shared) return null;
    const counts = (this.#sharedCounts ??= new Map<number, number | null>());
    let count = counts.get(number);
    if (count === undefined) {
      count = instanceCount(shared.expandInputs, this.#facts);
      counts.set(number, count);
    }
    return relevantIndexes(mapIndex, this.#ownCount, { count, furtherMapped: shared.furtherMapped });
  }

  /**
   * What a mapped task iterates over must have succeeded, whatever the trigger rule (`MappedTaskUpstreamDep`). Unlike the
   * rule, this sees what moved in the same wave: Airflow asks the database.
   */
  #byMappedDependencies(): Judgement {
    let unsuccessful = false;
    let failed = false;
    let skipped = false;
    for (const number of this.#task.mappedDependencies) {
      const row = this.#facts.rows[number]?.get(-1);
      const state = row?.moving ?? row?.state ?? null;
      if (!isFinished(state) || state === "success") continue;
      unsuccessful = true;
      failed ||= state === "failed" || state === "upstream_failed";
      skipped ||= state === "skipped";
    }
    if (failed) return { kind: "becomes", state: "upstream_failed" };
    if (skipped) return { kind: "becomes", state: "skipped" };
    return unsuccessful ? { kind: "blocked", by: "mapped-dependency" } : { kind: "ready" };
  }

  /** The branch or short circuit above that chose to leave this instance out; null: none did. */
  skippedBy({ mapIndex }: Row): string | null {
    if (this.#facts.skips.size === 0) return null;
    const { taskId } = this.#task.node;
    for (const number of this.#task.skippingUpstream) {
      const parent = this.#facts.plan.tasks[number];
      if (!parent || (this.#facts.rows[number]?.counts.finished ?? 0) === 0) continue;
      const record = this.#facts.skips.get(parent.node.taskId)?.get(parent.node.expandInput ? mapIndex : -1);
      const leavesOut = record?.followed && !record.followed.includes(taskId);
      if (leavesOut || record?.skipped?.includes(taskId)) return parent.node.taskId;
    }
    return null;
  }

  #isWaiting({ state, wakeAt }: Row): boolean {
    return (state === "up_for_retry" || state === "up_for_reschedule") && wakeAt !== null && wakeAt > this.#facts.now;
  }

  /** `PrevDagrunDep`: what of the run before holds the task; null: nothing does. */
  pastHold(): PastHold | null {
    const { node } = this.#task;
    const { previous, catchup } = this.#facts;
    if (!node.dependsOnPast || !previous) return null;
    if (catchup && node.startDate && previous.logicalDate && previous.logicalDate < node.startDate) return null;
    const own = previous.states.get(node.taskId);
    const isOwn: PastHold = { rule: "depends_on_past", taskIds: [node.taskId] };
    if (!own || own.length === 0)
      return node.ignoreFirstDependsOnPast && !previous.everRan.has(node.taskId) ? null : isOwn;
    if (!own.every(isSuccessful)) return isOwn;
    if (!node.waitForDownstream) return null;
    const below = node.downstream.filter((id) => !(previous.states.get(id) ?? []).every(isSuccessful));
    return below.length === 0 ? null : { rule: "wait_for_downstream", taskIds: below };
  }
}

/** The unexpanded row, and those of these indexes. */
function* rowsWithin(rows: TaskRows, { from, to }: { from: number; to: number }): Iterable<Row> {
  const unexpanded = rows.get(-1);
  if (unexpanded) yield unexpanded;
  for (let index = Math.max(0, from); index < to; index++) {
    const row = rows.get(index);
    if (row) yield row;
  }
}

const isSuccessful = (state: TaskInstanceState | null): boolean => state === "success" || state === "skipped";

function emptyTally(): UpstreamTally {
  return {
    success: 0,
    skipped: 0,
    failed: 0,
    upstreamFailed: 0,
    removed: 0,
    done: 0,
    successSetup: 0,
    skippedSetup: 0,
    expected: 0,
    expectedSetup: 0,
  };
}

function countAll(counts: StateCounts, isSetup: boolean, tally: UpstreamTally): void {
  tally.success += counts.get("success");
  tally.skipped += counts.get("skipped");
  tally.failed += counts.get("failed");
  tally.upstreamFailed += counts.get("upstream_failed");
  tally.removed += counts.get("removed");
  tally.done += counts.finished;
  tally.expected += counts.total;
  if (!isSetup) return;
  tally.successSetup += counts.get("success");
  tally.skippedSetup += counts.get("skipped");
  tally.expectedSetup += counts.total;
}

function countOne(state: TaskInstanceState | null, isSetup: boolean, tally: UpstreamTally): void {
  tally.expected++;
  if (isSetup) tally.expectedSetup++;
  if (!isFinished(state)) return;
  tally.done++;
  if (state === "success") tally.success++;
  else if (state === "skipped") tally.skipped++;
  else if (state === "failed") tally.failed++;
  else if (state === "upstream_failed") tally.upstreamFailed++;
  else tally.removed++;
  if (isSetup && state === "success") tally.successSetup++;
  if (isSetup && state === "skipped") tally.skippedSetup++;
}
