import { Alarm } from "../kit/alarm.ts";
import { addMicros, instantMs } from "../kit/instant.ts";
import type { Kit, Service } from "../kit/service.ts";
import type { EventBus, EventOf } from "../domain/events.ts";
import type { Executor } from "../domain/workload.ts";
import type { VersionCache } from "../store/dag-versions.ts";
import { pausedDags } from "../store/dag-schedule.ts";
import type { Database } from "../store/database.ts";
import {
  applyTransitions,
  finishRun,
  insertTaskInstances,
  liveRunIds,
  loadRun,
  startRun,
  type Transition,
} from "../store/live-runs.ts";
import { poolSizes } from "../store/pool-sizes.ts";
import { timeOutRun } from "../store/run-timeout.ts";
import { expandTask } from "./expansion.ts";
import { candidateOf, liveRun, missingTaskInstances, timeoutAt, workloadOf, type LiveRun } from "./live-run.ts";
import { ReadyQueue } from "./ready-queue.ts";
import { Slots, type Candidate } from "./slots.ts";

export interface SchedulerDeps {
  db: Database;
  bus: EventBus;
  versions: VersionCache;
  executor: Executor;
  /** A run ended: its DAG may make the next one. */
  runFinished(dagId: string): void;
}

export interface SchedulerConfig {
  /** Task instances queued and running at most, as Airflow's [core] parallelism. */
  parallelism: number;
  retryMs: number;
}

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
  readonly #runs = new Map<number, LiveRun>();
  readonly #stale = new Set<number>();
  readonly #dirty = new Set<number>();
  readonly #late = new Map<number, EventOf<"task-instance">[]>();
  readonly #wake = new Alarm<number>((ids) => this.#decideAgain(ids));
  readonly #timeouts = new Alarm<number>((ids) => this.#onTimeout(ids));
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
  }

  async start(): Promise<void> {
    const { bus, db } = this.#deps;
    this.#stopped = false;
    this.#unsubscribe.push(
      bus.on("task-instance", (event) => this.#onTaskInstance(event)),
      bus.on("dag-run", ({ dagRunId }) => this.reload([dagRunId])),
      bus.on("dag", ({ dagId }) => this.#onDag(dagId)),
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

  /** Hands a queued try, which no executor holds, over again. */
  async requeue(id: string, dagRunId: number): Promise<void> {
    const run = this.#runs.get(dagRunId) ?? (await this.#load(dagRunId));
    const ti = run?.memory.instance(id);
    const candidate = run && ti ? candidateOf(run, ti) : null;
    if (!run || !ti || !candidate || ti.state !== "queued") return;
    this.#deps.executor.enqueue([workloadOf(run, candidate, ti.tryNumber)]);
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
    if (candidate) this.#slots.record(candidate, event.newId === null ? event.state : null);
  }

  #onDag(dagId: string): void {
    this.#pausedChanged = true;
    this.#decideAgain([...this.#runs.values()].filter(({ row }) => row.dag_id === dagId).map(({ row }) => row.id));
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
      this.#slots.setPools(await poolSizes(this.#deps.db));
    }
    if (this.#pausedChanged) {
      this.#pausedChanged = false;
      this.#paused = await pausedDags(this.#deps.db);
    }
  }

  async #reloadStale(): Promise<void> {
    const ids = [...this.#stale];
    this.#stale.clear();
    for (const id of ids) await this.#load(id);
  }

  async #load(id: number): Promise<LiveRun | null> {
    const { db, versions } = this.#deps;
    const late: EventOf<"task-instance">[] = [];
    this.#late.set(id, late);
    try {
      let loaded = await loadRun(db, id);
      this.#forget(id);
      if (!loaded || (loaded.run.state !== "queued" && loaded.run.state !== "running")) return null;
      const version = await versions.get(loaded.run.dag_version_id);
      const missing = missingTaskInstances(loaded, version);
      if (missing.length > 0) {
        const inserted = await insertTaskInstances(db, loaded.run, missing);
        if (inserted.size === missing.length) {
          const made = missing.map(({ id: tiId, task }) => ({
            id: tiId,
            task_id: task.taskId,
            map_index: -1,
            state: null,
            try_number: 0,
            max_tries: task.retries,
            wake_at: null,
          }));
          loaded = { ...loaded, taskInstances: [...loaded.taskInstances, ...made] };
        } else {
          loaded = (await loadRun(db, id)) ?? loaded;
        }
      }
      const run = liveRun(loaded, version);
      this.#runs.set(id, run);
      for (const ti of run.memory.instances()) {
        const candidate = candidateOf(run, ti);
        if (!candidate) continue;
        this.#slots.record(candidate, ti.state);
        if (ti.state === "scheduled") {
          this.#ready.add({ candidate, limits: run.version.graph, expected: "scheduled", countTry: false });
        }
      }
      for (const event of late) this.#applyEvent(run, event);
      this.#dirty.add(id);
      return run;
    } finally {
      this.#late.delete(id);
    }
  }

  #forget(id: number): void {
    this.#runs.delete(id);
    this.#slots.forgetRun(id);
    this.#ready.removeRun(id);
    this.#wake.set(id, null);
    this.#timeouts.set(id, null);
  }

  async #advanceDirty(): Promise<void> {
    const runs = [...this.#dirty].map((id) => this.#runs.get(id)).filter((run) => run !== undefined);
    this.#dirty.clear();
    const transitions: { run: LiveRun; transition: Transition }[] = [];
    const ended: { run: LiveRun; state: "success" | "failed" }[] = [];
    for (const run of runs) {
      if (this.#paused.has(run.row.dag_id)) continue;
      if (run.row.state === "queued" && !(await this.#startIfDue(run))) continue;
      await this.#decide(run, transitions, ended);
    }
    await this.#write(transitions);
    for (const { run, state } of ended) await this.#finish(run, state);
  }

  async #startIfDue(run: LiveRun): Promise<boolean> {
    const now = this.#kit.clock.now();
    if (run.row.run_after > now) {
      this.#wake.set(run.row.id, run.row.run_after);
      return false;
    }
    const { maxActiveRuns } = run.version.graph;
    const running = [...this.#runs.values()].filter(
      ({ row }) => row.dag_id === run.row.dag_id && row.state === "running" && row.run_type !== "backfill",
    ).length;
    if (maxActiveRuns !== null && running >= maxActiveRuns && run.row.run_type !== "backfill") return false;
    if (!(await startRun(this.#deps.db, run.row.id, now))) {
      this.#stale.add(run.row.id);
      return false;
    }
    run.row.state = "running";
    run.row.start_date = now;
    run.memory.runStarted(now);
    return true;
  }

  async #decide(
    run: LiveRun,
    transitions: { run: LiveRun; transition: Transition }[],
    ended: { run: LiveRun; state: "success" | "failed" }[],
  ): Promise<void> {
    const { db } = this.#deps;
    const now = this.#kit.clock.now();
    let decision = run.memory.decide(now);
    while (decision.expansions.length > 0) {
      for (const expansion of decision.expansions) {
        if (!(await expandTask(db, run, expansion))) {
          this.#stale.add(run.row.id);
          return;
        }
      }
      decision = run.memory.decide(now);
    }
    for (const { id, from, to } of decision.transitions) {
      const countTry = to === "scheduled" || to === "success" ? from !== "up_for_reschedule" : false;
      if (to !== "scheduled") {
        transitions.push({ run, transition: { id, expected: from, to, countTry } });
        continue;
      }
      const ti = run.memory.instance(id);
      const candidate = ti ? candidateOf(run, ti) : null;
      if (candidate) this.#ready.add({ candidate, limits: run.version.graph, expected: from, countTry });
    }
    if (decision.runState === "success" || decision.runState === "failed")
      ended.push({ run, state: decision.runState });
    this.#wake.set(run.row.id, run.memory.nextWake());
    this.#timeouts.set(
      run.row.id,
      timeoutAt(run, (at, seconds) => addMicros(at, seconds * 1_000_000)),
    );
  }

  /** One statement for everything: what has slots goes straight to queued, the rest waits as scheduled. */
  async #write(decided: { run: LiveRun; transition: Transition }[]): Promise<void> {
    const now = this.#kit.clock.now();
    const all = [...decided];
    const queued: { run: LiveRun; candidate: Candidate }[] = [];
    for (const { candidate, expected, countTry } of this.#ready.takeFitting(
      this.#slots,
      (dagId) => !this.#paused.has(dagId),
    )) {
      const run = this.#runs.get(candidate.dagRunId);
      if (!run) continue;
      queued.push({ run, candidate });
      all.push({ run, transition: { id: candidate.id, expected, to: "queued", countTry } });
    }
    const waiting = this.#ready.takeUnwritten();
    for (const ready of waiting) {
      const run = this.#runs.get(ready.candidate.dagRunId);
      if (!run) continue;
      all.push({
        run,
        transition: { id: ready.candidate.id, expected: ready.expected, to: "scheduled", countTry: ready.countTry },
      });
    }
    if (all.length === 0) return;
    const tries = await applyTransitions(
      this.#deps.db,
      all.map(({ transition }) => transition),
      now,
    );
    for (const { run, transition } of all) {
      const tryNumber = tries.get(transition.id);
      if (tryNumber === undefined) {
        this.#stale.add(run.row.id);
        continue;
      }
      run.memory.applied(transition.id, transition.to, tryNumber);
      // A skip or an empty task opens the way for what comes behind it.
      if (transition.to !== "queued" && transition.to !== "scheduled") this.#dirty.add(run.row.id);
    }
    for (const ready of waiting) if (tries.has(ready.candidate.id)) this.#ready.written(ready);
    const workloads = queued
      .filter(({ candidate }) => tries.has(candidate.id))
      .map(({ run, candidate }) => workloadOf(run, candidate, tries.get(candidate.id) ?? 1));
    for (const { candidate } of queued) if (!tries.has(candidate.id)) this.#slots.record(candidate, null);
    this.#deps.executor.enqueue(workloads);
  }

  async #finish(run: LiveRun, state: "success" | "failed"): Promise<void> {
    if (!(await finishRun(this.#deps.db, run.row.id, state, this.#kit.clock.now()))) {
      this.#stale.add(run.row.id);
      return;
    }
    this.#ended(run);
  }

  #ended(run: LiveRun): void {
    this.#forget(run.row.id);
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
      const taken = await timeOutRun(this.#deps.db, run.row.id, this.#kit.clock.now());
      this.#kit.logger.info({ dagId: run.row.dag_id, runId: run.row.run_id }, "the run has timed out");
      if (taken === null) this.reload([run.row.id]);
      else {
        this.#deps.bus.publish({ kind: "kill", ids: taken, reason: "its run has timed out (dagrun_timeout)" });
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
