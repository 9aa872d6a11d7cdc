import type { Instant } from "../kit/instant.ts";
import type { DagGraph } from "./dag-graph.ts";
import type {
  DecidedState,
  Decision,
  InstanceChange,
  InstanceSnapshot,
  PreviousRun,
  RunSnapshot,
  SkipRecord,
} from "./decision.ts";
import { DirtyTasks } from "./dirty-tasks.ts";
import { instanceCount } from "./mapping.ts";
import { MinHeap } from "./min-heap.ts";
import { planOf, type PlannedTask, type RunPlan } from "./run-plan.ts";
import { isFinished, type TaskInstanceState } from "./states.ts";
import { TaskJudge, type Judgement, type PastHold, type RunFacts } from "./task-judge.ts";
import { Taking } from "./taking.ts";
import { isOpen, StateCounts, TaskRows, type Row } from "./task-rows.ts";

/** See `RunMemory.explain`. */
export interface Explanation {
  judgement: Judgement;
  upstream: { taskId: string; instances: InstanceSnapshot[] }[];
  past: PastHold | null;
  /** The branch above that left it out. */
  skippedBy: string | null;
  /** Give these to `RunMemory.setLengths` and ask again. */
  lengthsNeeded: string[];
}

/**
 * One live run: the states of its task instances beside its graph, and what to do next. Pure: it knows no clock, makes no ids
 * of its own and writes nothing.
 *
 * 1. `decide` changes the memory as if its decision were written. When a write is refused, load the run anew.
 * 2. A decision is a fixpoint: skips, empty tasks and expansions have run through the whole graph. They do so in waves,
 *    each judged by the states before it, as Airflow's scheduler loops are: which of a skip and a failure reaches a task first
 *    makes a difference.
 * 3. Only tasks that a change can affect are looked at, and no task instance changes twice in one decision.
 */
export class RunMemory {
  readonly graph: DagGraph;
  readonly #plan: RunPlan;
  readonly #newId: () => string;
  readonly #rows: TaskRows[];
  readonly #counts = new StateCounts();
  readonly #orphans: InstanceSnapshot[] = [];
  readonly #lengths: Map<string, number | null>;
  readonly #dirty = new DirtyTasks();
  readonly #waiting = new MinHeap<{ at: Instant; row: Row }>((a, b) => a.at < b.at);
  #previous: PreviousRun | null;
  #skips: ReadonlyMap<string, ReadonlyMap<number, SkipRecord>>;
  /** The task whose failure is to stop the others of a fail-fast DAG. */
  #failedFast: string | null = null;

  constructor(graph: DagGraph, snapshot: RunSnapshot, newId: () => string) {
    this.graph = graph;
    this.#plan = planOf(graph);
    this.#newId = newId;
    this.#rows = this.#plan.tasks.map(() => new TaskRows());
    this.#lengths = new Map(snapshot.lengths);
    this.#previous = snapshot.previous ?? null;
    this.#skips = snapshot.skips ?? new Map();
    for (const instance of snapshot.instances) {
      const task = this.#plan.byId.get(instance.taskId);
      if (!task) this.#orphans.push(instance);
      else this.#add(rowOf(instance, task));
    }
    this.#dirty.markEverything(this.#plan.tasks.length);
  }

  /** False when the instance is not known as the change describes it: load the run anew. */
  apply(change: InstanceChange): boolean {
    const task = this.#plan.byId.get(change.taskId);
    const row = task && this.#rows[task.number]?.get(change.mapIndex);
    if (!row || (row.id !== change.id && row.id !== change.newId)) return false;
    if (change.newId !== null) row.id = change.newId;
    row.wakeAt = change.wakeAt as Instant | null;
    if (change.mappedLength !== null && change.mapIndex < 0) this.#lengths.set(change.taskId, change.mappedLength);
    else if (!isFinished(change.state) && change.state !== "running") this.#lengths.delete(change.taskId);
    if (row.task.node.expandInput) this.#lengths.delete(change.taskId);
    if (change.state === "failed" && row.state !== "failed" && this.graph.failFast) this.#failedFast = change.taskId;
    this.#setState(row, change.state);
    this.#dirty.mark(row.task.number, row.mapIndex);
    this.#markDependents(row);
    return true;
  }

  /** Answers `Decision.lengthsNeeded`: the length, or null when there is none. */
  setLengths(lengths: ReadonlyMap<string, number | null>): void {
    for (const [taskId, length] of lengths) {
      this.#lengths.set(taskId, length);
      for (const number of this.#plan.byId.get(taskId)?.dependents ?? []) this.#dirty.mark(number);
    }
  }

  setPrevious(previous: PreviousRun | null): void {
    this.#previous = previous;
    for (const task of this.#plan.dependingOnPast) this.#dirty.mark(task.number);
  }

  setSkips(skips: ReadonlyMap<string, ReadonlyMap<number, SkipRecord>>): void {
    this.#skips = skips;
    for (const task of this.#plan.tasks) if (task.skippingUpstream.length > 0) this.#dirty.mark(task.number);
  }

  /** When a retry or a reschedule is due next. */
  nextWakeAt(): Instant | null {
    for (let first = this.#waiting.peek(); first; first = this.#waiting.peek()) {
      if (isOpen(first.row.state) && first.row.wakeAt === first.at) return first.at;
      this.#waiting.pop();
    }
    return null;
  }

  /** How many instances are in a state, of one task or of the run. */
  countOf(state: TaskInstanceState | "none", taskId?: string): number {
    if (taskId === undefined) return this.#counts.get(state);
    const task = this.#plan.byId.get(taskId);
    return (task && this.#rows[task.number]?.counts.get(state)) ?? 0;
  }

  instance(taskId: string, mapIndex = -1): InstanceSnapshot | null {
    const task = this.#plan.byId.get(taskId);
    const row = task && this.#rows[task.number]?.get(mapIndex);
    return row ? snapshotOf(row) : null;
  }

  *instances(): Iterable<InstanceSnapshot> {
    for (const rows of this.#rows) for (const row of rows.all()) yield snapshotOf(row);
  }

  /** What is decided of one open task instance now, and what that is decided by; nothing changes. null: there is no such row. */
  explain(taskId: string, mapIndex: number, now: Instant): Explanation | null {
    const task = this.#plan.byId.get(taskId);
    const row = task && this.#rowsOf(task).get(mapIndex);
    if (!row) return null;
    const facts = this.#facts(now);
    const judge = new TaskJudge(task, facts);
    const upstream = judge.upstream(row).map(({ taskId, rows }) => ({ taskId, instances: rows.map(snapshotOf) }));
    return {
      judgement: judge.judge(row),
      upstream,
      past: judge.pastHold(),
      skippedBy: judge.skippedBy(row),
      lengthsNeeded: [...facts.needed],
    };
  }

  /** Looks at everything, whatever changed: after loading, and as the tick's second opinion. */
  decideAll(now: Instant): Decision {
    this.#dirty.markEverything(this.#plan.tasks.length);
    return this.decide(now);
  }

  /** Looks at what changed since the last decision and at what is due. */
  decide(now: Instant): Decision {
    const taking = new Taking();
    const facts = this.#facts(now);
    for (let at = this.nextWakeAt(); at !== null && at <= now; at = this.nextWakeAt()) {
      const due = this.#waiting.pop()?.row;
      if (due) this.#dirty.mark(due.task.number, due.mapIndex);
    }
    for (const orphan of this.#orphans.splice(0)) {
      if (orphan.state !== "removed") taking.removeOrphan(orphan);
    }
    if (this.#failedFast !== null) this.#stopOthers(this.#failedFast, taking);
    const undecided: number[] = [];
    this.#settle(taking);
    while (this.#dirty.beginWave()) {
      for (let next = this.#dirty.take(); next; next = this.#dirty.take()) {
        const task = this.#plan.tasks[next.number];
        if (task && !this.#visit(task, next.indexes, facts, taking)) undecided.push(next.number);
      }
      this.#settle(taking);
    }
    for (const number of undecided) this.#dirty.mark(number);
    return taking.finish(this.#runState(facts), [...facts.needed]);
  }

  #facts(now: Instant): RunFacts {
    return {
      plan: this.#plan,
      rows: this.#rows,
      lengths: this.#lengths,
      needed: new Set(),
      now,
      catchup: this.graph.catchup,
      previous: this.#previous,
      skips: this.#skips,
    };
  }

  /** Moves the open instances of one task on. False when a length must be known first. */
  #visit(task: PlannedTask, indexes: ReadonlySet<number> | null, facts: RunFacts, taking: Taking): boolean {
    const rows = this.#rowsOf(task);
    if (rows.counts.open === 0) return true;
    let total: number | null = null;
    if (task.needsExpansion) {
      const needed = new Set<string>();
      total = instanceCount(task.expandInputs, { ...facts, needed });
      for (const id of needed) facts.needed.add(id);
      if (needed.size > 0) return false;
    }
    const judge = new TaskJudge(task, facts);
    const queue = openRows(rows, indexes);
    let revised = false;
    for (const row of queue) {
      if (row.moving !== null) continue;
      const judgement = judge.judge(row);
      if (judgement.kind === "becomes") this.#end(row, judgement.state, taking);
      if (judgement.kind !== "ready") continue;
      if (task.needsExpansion && row.mapIndex < 0) {
        queue.push(...this.#expand(row, total, taking));
        continue;
      }
      if (task.needsExpansion && !revised && total !== null) {
        for (const made of this.#revise(rows, task, total, taking)) this.#schedule(made, taking);
        revised = true;
      }
      if (row.moving === null) this.#schedule(row, taking);
    }
    return true;
  }

  /** Ends an instance without running it. What expands on it sees that in the same wave. */
  #end(row: Row, state: DecidedState, taking: Taking): void {
    taking.move(row, state);
    if (row.mapIndex < 0) for (const number of row.task.mappedDependents) this.#dirty.markNow(number);
  }

  #schedule(row: Row, taking: Taking): void {
    if (row.state !== "up_for_reschedule") row.tryNumber++;
    row.wakeAt = null;
    taking.move(row, row.task.node.inheritsFromEmptyOperator ? "success" : "scheduled");
  }

  /** `TaskMap.expand_mapped_task`: the unexpanded row becomes index 0, the others are made. Returns what is to be judged now. */
  #expand(unexpanded: Row, total: number | null, taking: Taking): Row[] {
    const rows = this.#rowsOf(unexpanded.task);
    for (const row of rows.all()) {
      if (row.mapIndex >= (total ?? 0) && row.state !== "removed") taking.move(row, "removed");
    }
    if (total === null || total < 1) {
      this.#end(unexpanded, total === null ? "upstream_failed" : "skipped", taking);
      return [];
    }
    const fresh: Row[] = [];
    const isFirst = !rows.get(0);
    const highest = Math.max(0, rows.highestIndex);
    rows.remove(unexpanded);
    this.#counts.add(unexpanded.state, -1);
    if (isFirst) {
      unexpanded.mapIndex = 0;
      this.#add(unexpanded);
      fresh.push(unexpanded);
    }
    const made = range(highest + 1, total).map((mapIndex) => this.#make(unexpanded.task, mapIndex));
    taking.expanded(unexpanded.task, { id: unexpanded.id, becomes: isFirst ? 0 : "deleted" }, made);
    this.#markDependents(unexpanded, true);
    return [...fresh, ...made];
  }

  /** `DagRun._revise_map_indexes_if_mapped`: what it iterates over changed its length since it was expanded. */
  #revise(rows: TaskRows, task: PlannedTask, total: number, taking: Taking): Row[] {
    const complete = rows.counts.total === total && rows.highestIndex === total - 1 && rows.get(-1) === null;
    if (complete) return [];
    for (const row of rows.all()) {
      if ((row.mapIndex < 0 || row.mapIndex >= total) && row.state !== "removed") taking.move(row, "removed");
    }
    const missing = range(0, total).filter((index) => rows.get(index) === null);
    const made = missing.map((mapIndex) => this.#make(task, mapIndex));
    if (made.length > 0) taking.expanded(task, null, made);
    return made;
  }

  #make(task: PlannedTask, mapIndex: number): Row {
    const row: Row = {
      id: this.#newId(),
      task,
      mapIndex,
      state: null,
      tryNumber: 0,
      wakeAt: null,
      isNew: true,
      moving: null,
    };
    this.#add(row);
    return row;
  }

  /** `_stop_remaining_tasks`: in a fail-fast DAG one failure ends all but teardowns. */
  #stopOthers(failedTaskId: string, taking: Taking): void {
    this.#failedFast = null;
    for (const [number, rows] of this.#rows.entries()) {
      const node = this.#plan.tasks[number]?.node;
      if (!node || node.isTeardown || node.taskId === failedTaskId) continue;
      for (const row of rows.all()) {
        if (!isFinished(row.state)) taking.move(row, row.state === "running" ? "failed" : "skipped");
      }
    }
  }

  /** `DagRun.update_state`. */
  #runState(facts: RunFacts): Pick<Decision, "runState" | "reason"> {
    if (this.#counts.finished === this.#counts.total) {
      const failed = this.#plan.leaves.some(({ number }) => {
        const counts = this.#rows[number]?.counts;
        return counts !== undefined && counts.get("failed") + counts.get("upstream_failed") > 0;
      });
      return failed ? { runState: "failed", reason: "task_failure" } : { runState: "success", reason: "success" };
    }
    const stuck = this.#counts.active === 0 && facts.needed.size === 0;
    return stuck && this.#isDeadlocked(facts)
      ? { runState: "failed", reason: "all_tasks_deadlocked" }
      : { runState: "running", reason: null };
  }

  /** Nothing is under way and nothing unfinished could run even if its waiting time were over. */
  #isDeadlocked(facts: RunFacts): boolean {
    const unfinished = this.#plan.tasks.filter(({ number }) => (this.#rows[number]?.counts.open ?? 0) > 0);
    // Other runs may free these, so Airflow never calls them deadlocked.
    const hasLimits = unfinished.some(
      ({ node }) => node.dependsOnPast || node.maxActiveTisPerDag !== null || node.maxActiveTisPerDagrun !== null,
    );
    if (hasLimits) return false;
    // What only waits for its time is found first.
    const waits = ({ number }: PlannedTask): number =>
      (this.#rows[number]?.counts.open ?? 0) - (this.#rows[number]?.counts.get("none") ?? 0) > 0 ? 0 : 1;
    return !unfinished
      .toSorted((a, b) => waits(a) - waits(b))
      .some((task) => {
        const judge = new TaskJudge(task, facts);
        return openRows(this.#rowsOf(task), null).some(
          (row) => judge.judge(row, { ignoreWaiting: true }).kind === "ready",
        );
      });
  }

  /** Ends a wave: what it moved takes effect. */
  #settle(taking: Taking): void {
    for (const row of taking.settle()) {
      this.#setState(row, row.moving);
      row.moving = null;
      this.#markDependents(row);
    }
  }

  #setState(row: Row, state: TaskInstanceState | null): void {
    const rows = this.#rowsOf(row.task);
    for (const counts of [rows.counts, this.#counts]) {
      counts.add(row.state, -1);
      counts.add(state);
    }
    row.state = state;
    this.#watch(row);
  }

  #add(row: Row): void {
    this.#rowsOf(row.task).add(row);
    this.#counts.add(row.state);
    this.#watch(row);
  }

  #watch(row: Row): void {
    if (row.wakeAt !== null && row.state !== null && isOpen(row.state)) this.#waiting.push({ at: row.wakeAt, row });
  }

  /** Those in the same mapped group are affected only where their iteration is this row's. */
  #markDependents(row: Row, all = false): void {
    for (const number of row.task.dependents) {
      const dependent = this.#plan.tasks[number];
      if (!dependent || this.#rows[number]?.counts.open === 0) continue;
      const shared = dependent.sharedGroups.get(row.task.number);
      if (all || !shared || row.mapIndex < 0 || dependent.expansionDependencies.has(row.task.number)) {
        this.#dirty.mark(number);
        continue;
      }
      const facts = { plan: this.#plan, rows: this.#rows, lengths: this.#lengths, needed: new Set<string>() };
      const own = instanceCount(dependent.expandInputs, facts);
      const groups = instanceCount(shared.expandInputs, facts);
      if (!own || !groups) {
        this.#dirty.mark(number);
        continue;
      }
      const further = Math.max(1, Math.floor(own / groups));
      const iteration = shared.furtherMapped ? Math.floor(row.mapIndex / further) : row.mapIndex;
      this.#dirty.mark(number, -1);
      for (const index of range(iteration * further, (iteration + 1) * further)) this.#dirty.mark(number, index);
    }
  }

  #rowsOf(task: PlannedTask): TaskRows {
    return this.#rows[task.number] as TaskRows;
  }
}

function rowOf({ id, mapIndex, state, tryNumber, wakeAt }: InstanceSnapshot, task: PlannedTask): Row {
  return { id, task, mapIndex, state, tryNumber, wakeAt, isNew: false, moving: null };
}

function snapshotOf({ id, task, mapIndex, state, tryNumber, wakeAt }: Row): InstanceSnapshot {
  return { id, taskId: task.node.taskId, mapIndex, state, tryNumber, wakeAt };
}

/** In the order of their indexes. */
function openRows(rows: TaskRows, indexes: ReadonlySet<number> | null): Row[] {
  const candidates = indexes ? [...indexes].map((index) => rows.get(index)) : rows.all();
  return candidates
    .filter((row) => row !== null)
    .filter((row) => isOpen(row.state))
    .sort(byIndex);
}

const byIndex = (a: Row, b: Row): number => a.mapIndex - b.mapIndex;

function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, place) => from + place);
}
