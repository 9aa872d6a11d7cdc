import { Alarm } from "../kit/alarm.ts";
import { addMicros, instantMs } from "../kit/instant.ts";
import type { Kit, Service } from "../kit/service.ts";
import type { EventBus, EventOf } from "../domain/events.ts";
import { Slots } from "../domain/slots.ts";
import { heedsPause } from "../domain/run-start.ts";
import { isFinished, type TaskInstanceState } from "../domain/states.ts";
import type { Executor, Workload } from "../domain/workload.ts";
import { pauseAfterFailures } from "../store/auto-pause.ts";
import type { VersionCache } from "../store/dag-versions.ts";
import { pausedDags } from "../store/dag-schedule.ts";
import type { Database } from "../store/database.ts";
import { applyTransitions, liveRunIds, startRuns, type Transition } from "../store/live-runs.ts";
import { poolSizes } from "../store/pool-sizes.ts";
import type { StartFromTrigger } from "../store/triggers.ts";
import { decideRun, type RunDecision } from "./decide-run.ts";
import { callsBack, endRunByTime, endRuns, type RunEnding } from "./end-run.ts";
import { candidateOf, timeoutAt, workloadOf, type Candidate, type LiveRun } from "./live-run.ts";
import { readRuns } from "./read-runs.ts";
import { ReadyQueue, type Ready } from "./ready-queue.ts";
import { inStartOrder, RunningRuns, StartGate } from "./start-gate.ts";

export interface SchedulerDeps {
  db: Database;
  bus: EventBus;
  versions: VersionCache;
  executor: Executor;
  /** Defers a task without starting it and tells of it; false when it was no longer as expected. */
  startFromTrigger(start: StartFromTrigger): Promise<boolean>;
  /** A run ended: its DAG may make the next one. */
  runFinished(dagId: string): void;
}

export interface SchedulerConfig {
  /** Task instances queued and running at most, as Airflow's [core] parallelism. */
  parallelism: number;
  retryMs: number;
  /** `[core] multi_team`: a team's pool takes tasks of its own DAGs only. */
  multiTeam?: boolean;
}

interface Decided {
  run: LiveRun;
  transition: Transition;
}

/** Runs read in one statement. */
const LOADED_AT_ONCE = 200;
const HAD_WORK: ReadonlySet<TaskInstanceState | null> = new Set(["queued", "running", "restarting", "deferred"]);

/**
 * Moves runs forward: an event says which run to look at, `domain` decides in memory, one guarded statement writes.
 *
 * 1. The database is the truth. A write that does not fit, an error, or any doubt: the run is read again.
 * 2. One pass works at a time; events that come meanwhile make the next pass. Passes take all dirty runs together.
 * 3. Changes that arrive while a run is being read are applied to it again afterwards: applying twice is harmless.
 * 4. A task instance goes to the executor only after its "queued" is committed.
 */
export class Scheduler implements Service {
  readonly #kit: Kit;
  readonly #deps: SchedulerDeps;
  readonly #config: SchedulerConfig;
  readonly #slots: Slots;
  readonly #ready = new ReadyQueue();
  readonly #gate: StartGate;
  readonly #runs = new Map<number, LiveRun>();
  readonly #stale = new Set<number>();
  readonly #dirty = new Set<number>();
  /** By run: tries to hand over again. */
  readonly #requeued = new Map<number, Set<string>>();
  readonly #late = new Map<number, EventOf<"task-instance">[]>();
  readonly #wake: Alarm<number>;
  readonly #timeouts: Alarm<number>;
  readonly #unsubscribe: (() => void)[] = [];
  #paused = new Set<string>();
  #poolsChanged = true;
  #pausedChanged = true;
  #working: Promise<void> | null = null;
  #stopped = true;
  #idle: (() => void)[] = [];

  constructor(kit: Kit, deps: SchedulerDeps, config: SchedulerConfig) {
    this.#kit = kit;
    this.#deps = deps;
    this.#config = config;
    this.#slots = new Slots(config.parallelism);
    this.#gate = new StartGate(deps.db);
    this.#wake = new Alarm(kit.clock, (ids) => this.#decideAgain(ids));
    this.#timeouts = new Alarm(kit.clock, (ids) => this.#onTimeout(ids));
  }

  async start(): Promise<void> {
    const { bus, db } = this.#deps;
    this.#stopped = false;
    this.#unsubscribe.push(
      bus.on("task-instance", (event) => this.#onTaskInstance(event)),
      bus.on("dag-run", ({ dagRunId }) => this.reload([dagRunId])),
      bus.on("dag", ({ dagId }) => this.#onDag(dagId)),
      bus.on("backfill", ({ backfillId }) => this.#onBackfill(backfillId)),
      bus.on("pool", () => {
        this.#poolsChanged = true;
        this.#kick();
      }),
    );
    this.reload(await liveRunIds(db));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe();
    this.#wake.clear();
    this.#timeouts.clear();
    await this.#working;
  }

  /** Reads these runs from the database and decides again. */
  reload(dagRunIds: readonly number[]): void {
    for (const id of dagRunIds) this.#stale.add(id);
    this.#kick();
  }

  /** The backstop: what time or a lost event left behind is found here. */
  async tick(): Promise<void> {
    this.#wake.check();
    this.#timeouts.check();
    this.#pausedChanged = true;
    const live = new Set(await liveRunIds(this.#deps.db));
    this.reload([...live].filter((id) => !this.#runs.has(id)));
    this.reload([...this.#runs.keys()].filter((id) => !live.has(id)));
    this.#decideAgain([...this.#runs.keys()]);
  }

  /** Hands a queued try, which no executor holds, over again, once its run has been read. */
  requeue(id: string, dagRunId: number): void {
    this.#requeued.set(dagRunId, (this.#requeued.get(dagRunId) ?? new Set<string>()).add(id));
    this.reload([dagRunId]);
  }

  /** Resolves when nothing is left to do now. For tests and orderly shutdown. */
  settled(): Promise<void> {
    if (!this.#hasWork()) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  #onTaskInstance(event: EventOf<"task-instance">): void {
    const run = this.#runs.get(event.dagRunId);
    if (!run || this.#stale.has(event.dagRunId)) {
      this.#stale.add(event.dagRunId);
    } else {
      this.#applyEvent(run, event);
    }
    this.#late.get(event.dagRunId)?.push(event);
    this.#dirty.add(event.dagRunId);
    this.#kick();
  }

  #applyEvent(run: LiveRun, event: EventOf<"task-instance">): void {
    const known = run.memory.apply({
      id: event.id,
      taskId: event.taskId,
      mapIndex: event.mapIndex,
      state: event.state,
      wakeAt: event.wakeAt,
      newId: event.newId,
      mappedLength: event.mappedLength,
    });
    if (!known) {
      this.#stale.add(run.row.id);
      return;
    }
    const candidate = candidateOf(run, event);
    if (candidate) {
      this.#slots.record(candidate, event.newId === null ? event.state : null);
      if (event.state === "scheduled") this.#wait(run, candidate);
    }
    if (isFinished(event.state)) this.#readAgainAfter(run, event.taskId);
  }

  /** It waits for slots, and its row says so. */
  #wait(run: LiveRun, candidate: Candidate): void {
    const tryNumber = run.memory.instance(candidate.task.taskId, candidate.mapIndex)?.tryNumber ?? 0;
    this.#ready.add({ candidate, limits: run.version.graph, expected: "scheduled", tryNumber });
  }

  /** What ended may have left a skip record, and later runs may depend on it: rare enough to read the runs again. */
  #readAgainAfter(run: LiveRun, taskId: string): void {
    if (run.version.graph.tasks.get(taskId)?.inheritsFromSkipMixin) this.#stale.add(run.row.id);
    this.#readDependents(run);
  }

  #readDependents(ended: LiveRun): void {
    for (const { row, dependingOnPast } of this.#runs.values()) {
      if (dependingOnPast.length > 0 && row.dag_id === ended.row.dag_id && row.id !== ended.row.id)
        this.#stale.add(row.id);
    }
  }

  #onDag(dagId: string): void {
    this.#pausedChanged = true;
    // A DAG that is new, or of another bundle now, may use other pools.
    if (this.#config.multiTeam) this.#poolsChanged = true;
    this.#decideAgain([...this.#runs.values()].filter(({ row }) => row.dag_id === dagId).map(({ row }) => row.id));
  }

  #onBackfill(backfillId: number): void {
    this.#gate.forget(backfillId);
    this.#decideAgain(
      [...this.#runs.values()].filter(({ row }) => row.backfill_id === backfillId).map(({ row }) => row.id),
    );
  }

  #decideAgain(dagRunIds: readonly number[]): void {
    for (const id of dagRunIds) this.#dirty.add(id);
    this.#kick();
  }

  #hasWork(): boolean {
    return (
      this.#working !== null ||
      this.#stale.size > 0 ||
      this.#dirty.size > 0 ||
      this.#poolsChanged ||
      this.#pausedChanged
    );
  }

  #kick(): void {
    if (this.#working !== null || this.#stopped) return;
    this.#working = Promise.resolve()
      .then(() => this.#work())
      .finally(() => {
        this.#working = null;
        if (this.#stopped || !this.#hasWork()) for (const resolve of this.#idle.splice(0)) resolve();
        else this.#kick();
      });
  }

  async #work(): Promise<void> {
    try {
      while (
        !this.#stopped &&
        (this.#stale.size > 0 || this.#dirty.size > 0 || this.#poolsChanged || this.#pausedChanged)
      ) {
        await this.#refreshLimits();
        await this.#reloadStale();
        await this.#advanceDirty();
      }
    } catch (error) {
      this.#kit.logger.error({ err: error }, "a scheduling pass failed; its runs are read again");
      for (const id of this.#runs.keys()) this.#stale.add(id);
      await new Promise((resolve) => setTimeout(resolve, this.#config.retryMs));
    }
  }

  async #refreshLimits(): Promise<void> {
    if (this.#poolsChanged) {
      this.#poolsChanged = false;
      this.#slots.setPools(await poolSizes(this.#deps.db, this.#config.multiTeam));
    }
    if (this.#pausedChanged) {
      this.#pausedChanged = false;
      const before = this.#paused;
      this.#paused = await pausedDags(this.#deps.db);
      for (const { row } of this.#runs.values()) {
        if (before.has(row.dag_id) && !this.#paused.has(row.dag_id)) this.#dirty.add(row.id);
      }
    }
  }

  async #reloadStale(): Promise<void> {
    const ids = [...this.#stale];
    this.#stale.clear();
    for (let at = 0; at < ids.length; at += LOADED_AT_ONCE) await this.#load(ids.slice(at, at + LOADED_AT_ONCE));
  }

  async #load(ids: readonly number[]): Promise<void> {
    for (const id of ids) this.#late.set(id, []);
    try {
      const runs = await readRuns({ ...this.#deps, logger: this.#kit.logger }, ids);
      for (const id of ids) {
        this.#forget(id);
        const requeued = this.#requeued.get(id);
        this.#requeued.delete(id);
        const run = runs.get(id);
        if (run) this.#take(run, this.#late.get(id) ?? [], requeued);
      }
    } finally {
      for (const id of ids) this.#late.delete(id);
    }
  }

  /** Goes on with a run as it was just read; `late` came while it was, and `requeued` go to the executor again. */
  #take(run: LiveRun, late: readonly EventOf<"task-instance">[], requeued?: ReadonlySet<string>): void {
    const { id, dag_id: dagId, dag_is_paused: isPaused } = run.row;
    if (isPaused) this.#paused.add(dagId);
    else this.#paused.delete(dagId);
    this.#runs.set(id, run);
    for (const ti of run.memory.instances()) {
      const candidate = candidateOf(run, ti);
      if (!candidate) continue;
      this.#slots.record(candidate, ti.state);
      if (ti.state === "scheduled") this.#wait(run, candidate);
      if (ti.state === "queued" && requeued?.has(ti.id))
        this.#deps.executor.enqueue([workloadOf(run, candidate, ti.tryNumber)]);
    }
    for (const event of late) this.#applyEvent(run, event);
    this.#dirty.add(id);
  }

  #isPaused({ row }: LiveRun): boolean {
    return heedsPause(row) && this.#paused.has(row.dag_id);
  }

  #forget(id: number): void {
    this.#runs.delete(id);
    this.#slots.forgetRun(id);
    this.#ready.removeRun(id);
    this.#wake.set(id, null);
    this.#timeouts.set(id, null);
  }

  async #advanceDirty(): Promise<void> {
    const dirty = [...this.#dirty].map((id) => this.#runs.get(id)).filter((run) => run !== undefined);
    this.#dirty.clear();
    const runs = inStartOrder(dirty).filter((run) => !this.#isPaused(run));
    await this.#startDue(runs.filter((run) => run.row.state === "queued"));
    const decided: Decided[] = [];
    const endings: RunEnding[] = [];
    for (const run of runs) {
      // What it is to be read again for may change the decision: a branch has ended meanwhile, and its choice is not known.
      if (run.row.state !== "running" || this.#stale.has(run.row.id)) continue;
      const decision = await this.#decide(run, decided);
      const state = decision?.runState;
      if (state === "success" || state === "failed") endings.push({ run, state, reason: decision?.reason ?? null });
    }
    await this.#write(decided);
    await this.#finish(endings.filter(({ run }) => !this.#stale.has(run.row.id)));
  }

  async #startDue(queued: readonly LiveRun[]): Promise<void> {
    if (queued.length === 0) return;
    const now = this.#kit.clock.now();
    const running = new RunningRuns(this.#runs.values());
    const due: LiveRun[] = [];
    for (const run of queued) {
      const hold = await this.#gate.holdOf(run, running, now);
      if (hold === "run_after") this.#wake.set(run.row.id, run.row.run_after);
      if (hold !== null) continue;
      running.add(run);
      due.push(run);
    }
    const started = await startRuns(
      this.#deps.db,
      due.map(({ row }) => row.id),
      now,
    );
    for (const { row } of due) {
      if (started.has(row.id)) Object.assign(row, { state: "running", start_date: now });
      else this.#stale.add(row.id);
    }
  }

  /** Sorts the run's transitions into what is written now and what waits for slots. */
  async #decide(run: LiveRun, decided: Decided[]): Promise<RunDecision | null> {
    const isStale = (): boolean => this.#stale.has(run.row.id);
    const decision = await decideRun(this.#deps.db, run, this.#kit.clock.now(), isStale);
    if (decision === null) {
      this.#stale.add(run.row.id);
      return null;
    }
    for (const { id, taskId, mapIndex, from, to, tryNumber } of decision.transitions) {
      const candidate = to === "scheduled" ? candidateOf(run, { id, taskId, mapIndex }) : null;
      if (candidate?.task.startFromTrigger) await this.#startFromTrigger(run, candidate, from, tryNumber);
      else if (candidate) this.#ready.add({ candidate, limits: run.version.graph, expected: from, tryNumber });
      else decided.push({ run, transition: { id, expected: from, to, tryNumber } });
    }
    this.#wake.set(run.row.id, run.memory.nextWakeAt());
    this.#timeouts.set(run.row.id, timeoutAt(run));
    return decision;
  }

  /** It waits for its trigger before it ever had a process, and needs no slots for that. */
  async #startFromTrigger(
    run: LiveRun,
    { id, task }: Candidate,
    expected: TaskInstanceState | null,
    tryNumber: number,
  ): Promise<void> {
    const now = this.#kit.clock.now();
    const { executionTimeoutSeconds } = task;
    const deferred = await this.#deps.startFromTrigger({ id, expected, tryNumber, now, executionTimeoutSeconds });
    if (!deferred) this.#stale.add(run.row.id);
  }

  /** One statement for everything: what has slots goes straight to queued, the rest waits as scheduled. */
  async #write(decided: readonly Decided[]): Promise<void> {
    const now = this.#kit.clock.now();
    const fitting = this.#ready.takeFitting(this.#slots, (dagRunId) => {
      const run = this.#runs.get(dagRunId);
      return run !== undefined && !this.#isPaused(run);
    });
    const waiting = this.#ready.takeUnwritten();
    const all = [
      ...decided,
      ...fitting.flatMap((ready) => this.#transitionOf(ready, "queued")),
      ...waiting.flatMap((ready) => this.#transitionOf(ready, "scheduled")),
    ];
    if (all.length === 0) return;
    const applied = await applyTransitions(
      this.#deps.db,
      all.map(({ transition }) => transition),
      now,
    );
    for (const { run, transition } of all) if (!applied.has(transition.id)) this.#stale.add(run.row.id);
    for (const ready of waiting) if (applied.has(ready.candidate.id)) this.#ready.written(ready);
    const workloads: Workload[] = [];
    for (const { candidate, tryNumber } of fitting) {
      const run = this.#runs.get(candidate.dagRunId);
      if (run && applied.has(candidate.id)) workloads.push(workloadOf(run, candidate, tryNumber));
      else this.#slots.record(candidate, null);
    }
    this.#deps.executor.enqueue(workloads);
    const stopped = decided.filter(({ transition }) => applied.has(transition.id) && HAD_WORK.has(transition.expected));
    if (stopped.length > 0) {
      const ids = stopped.map(({ transition }) => transition.id);
      this.#deps.bus.publish({ kind: "kill", ids, reason: "another task of this fail-fast DAG has failed" });
    }
  }

  #transitionOf({ candidate, expected, tryNumber }: Ready, to: "queued" | "scheduled"): Decided[] {
    const run = this.#runs.get(candidate.dagRunId);
    return run ? [{ run, transition: { id: candidate.id, expected, to, tryNumber } }] : [];
  }

  async #finish(endings: readonly RunEnding[]): Promise<void> {
    const ended = new Set(await endRuns(this.#deps.db, endings, this.#kit.clock.now()));
    for (const ending of endings) {
      const { run, state, reason } = ending;
      if (!ended.has(ending)) {
        this.#stale.add(run.row.id);
        continue;
      }
      if (callsBack(run, state)) this.#deps.bus.publish({ kind: "callback" });
      const { maxConsecutiveFailedDagRuns: limit } = run.version.graph;
      if (reason === "task_failure" && limit > 0) await this.#pauseAfterFailures(run.row.dag_id, limit);
      this.#ended(run);
    }
  }

  async #pauseAfterFailures(dagId: string, limit: number): Promise<void> {
    if (!(await pauseAfterFailures(this.#deps.db, dagId, limit))) return;
    this.#paused.add(dagId);
    this.#kit.logger.warn({ dagId }, `paused the DAG: its last ${limit} runs have failed`);
    this.#deps.bus.publish({ kind: "dag", dagId });
  }

  #ended(run: LiveRun): void {
    this.#forget(run.row.id);
    this.#readDependents(run);
    for (const { row } of this.#runs.values()) {
      if (row.dag_id === run.row.dag_id && row.state === "queued") this.#dirty.add(row.id);
    }
    this.#deps.runFinished(run.row.dag_id);
  }

  #onTimeout(dagRunIds: readonly number[]): void {
    for (const id of dagRunIds) {
      const run = this.#runs.get(id);
      if (run) void this.#timeOut(run);
    }
  }

  /** dagrun_timeout: the run fails, what has not finished is skipped, and its processes end. */
  async #timeOut(run: LiveRun): Promise<void> {
    try {
      const taken = await endRunByTime(this.#deps.db, run, this.#kit.clock.now());
      this.#kit.logger.info({ dagId: run.row.dag_id, runId: run.row.run_id }, "the run has timed out");
      if (taken === null) this.reload([run.row.id]);
      else {
        this.#deps.bus.publish({ kind: "kill", ids: taken, reason: "its run has timed out (dagrun_timeout)" });
        if (callsBack(run, "failed")) this.#deps.bus.publish({ kind: "callback" });
        this.#ended(run);
        this.#kick();
      }
    } catch (error) {
      this.#kit.logger.error({ err: error }, "a timed out run could not be ended; it is tried again");
      this.#timeouts.set(run.row.id, addMicros(this.#kit.clock.now(), this.#config.retryMs * 1000));
    }
  }

  /** For metrics and the API: how much is live. */
  counts(): { runs: number; waiting: number; oldestMs: number } {
    let oldest = Infinity;
    for (const { row } of this.#runs.values()) oldest = Math.min(oldest, instantMs(row.run_after));
    return { runs: this.#runs.size, waiting: this.#ready.size, oldestMs: oldest };
  }
}
