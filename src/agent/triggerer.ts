import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Reply, ToSupervisor } from "../domain/task-execution.ts";
import type { RunTrigger, TriggerHost, TriggerOutcomes, TriggerReport } from "../domain/trigger.ts";
import type { Kit, Service } from "../kit/service.ts";
import { describeExit, type ForkedChild } from "./forked-child.ts";
import { TriggerLogs } from "./trigger-logs.ts";
import { TriggererProcess } from "./triggerer-process.ts";

export interface TriggererDeps {
  /** Makes a process for triggers; PythonRuntime has it. */
  spawn: (environment: string, version: RunTrigger["version"]) => Promise<ForkedChild>;
  handle: (message: ToSupervisor) => Promise<Reply>;
  outcomes: TriggerOutcomes;
}

export interface TriggererConfig {
  logsDir: string;
  /** Folder of a DAG version's files. */
  versionDir: (archiveDigest: string) => string;
  /** Serves modules that a version lacks, as for tasks. */
  workspace: string;
  /** A process without triggers ends after this. */
  idleMs: number;
  /** One that says nothing for so long is replaced (`[triggerer] runner_health_check_threshold`). */
  silenceMs: number;
  /** One that takes more memory is replaced. */
  memoryMb: number;
  checkMs: number;
  /** What triggers get to clean up when Leoflow stops. */
  graceMs: number;
}

export const DEFAULT_TRIGGERER: Omit<TriggererConfig, "logsDir" | "versionDir" | "workspace"> = {
  idleMs: 120_000,
  silenceMs: 30_000,
  memoryMb: 2_048,
  checkMs: 5_000,
  graceMs: 1_000,
};

/** After so long without trouble, earlier trouble is forgotten. */
const CALM_MS = 60_000;
const RESTART_PAUSES_MS = [0, 500, 2_000, 5_000];
/** From the next on, what runs in a process that keeps dying is halved to find what kills it. */
const RESTARTS_TOGETHER = 2;
/** A trigger goes on after its event for a moment before it is told to end, as the second of Airflow's loop. */
const LEAVE_MS = 1_000;
const WRITE_PAUSES_MS = [100, 500, 1_000, 5_000];

/** Triggers that share a process. */
interface Cell {
  /** null: not to be joined by others, as there was trouble. */
  key: string | null;
  environment: string;
  version: RunTrigger["version"];
  triggers: Map<number, RunTrigger>;
  process: TriggererProcess | null;
  /** How often its process died, one time after another. */
  deaths: number;
  /** A trigger that keeps the event loop to itself lives alone, and is let be. */
  mayBeSilent: boolean;
  /** It was silent when last looked at. */
  suspected: boolean;
  blockedBy: { trigger: number; stack: readonly string[] } | null;
  emptySince: number;
  timer: NodeJS.Timeout | null;
}

type NewCell = Pick<Cell, "key" | "environment" | "version"> & Partial<Cell>;

/**
 * Runs triggers: one process per environment for all of them, and one more per DAG version whose own modules hold the class.
 *
 * 1. A process starts with the first trigger and ends when there was none for a while.
 * 2. One that dies, hangs or grows beyond its limit is replaced, with all its triggers. When that goes on, the triggers are
 *    split over two processes, again and again, until the one that does it is alone; it fails then.
 * 3. A report is with us from the moment it was read, until it is stored: a process that dies meanwhile repeats nothing.
 */
export class Triggerer implements TriggerHost, Service {
  readonly #kit: Kit;
  readonly #deps: TriggererDeps;
  readonly #config: TriggererConfig;
  readonly #logs: TriggerLogs;
  readonly #cells = new Set<Cell>();
  readonly #cellOf = new Map<number, Cell>();
  /** Reported, not yet stored. */
  readonly #settling = new Set<number>();
  readonly #own = new Map<string, boolean>();
  #timer: NodeJS.Timeout | null = null;
  #stopping = false;
  #spawnFailed = false;

  constructor(kit: Kit, deps: TriggererDeps, config: TriggererConfig) {
    this.#kit = kit;
    this.#deps = deps;
    this.#config = config;
    this.#logs = new TriggerLogs(kit, config.logsDir);
  }

  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.#check(), this.#config.checkMs);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#timer) clearInterval(this.#timer);
    await Promise.all([...this.#cells].map((cell) => this.#end(cell)));
    await this.#logs.flushed();
  }

  run(triggers: readonly RunTrigger[]): void {
    if (this.#stopping) return;
    const joining = new Map<Cell, RunTrigger[]>();
    for (const trigger of triggers) {
      if (this.#cellOf.has(trigger.id) || this.#settling.has(trigger.id)) continue;
      const cell = this.#cellFor(trigger);
      cell.triggers.set(trigger.id, trigger);
      this.#cellOf.set(trigger.id, cell);
      joining.set(cell, [...(joining.get(cell) ?? []), trigger]);
    }
    for (const [cell, added] of joining) {
      if (cell.process) cell.process.create(added);
      else this.#begin(cell, 0);
    }
  }

  cancel(ids: readonly number[]): void {
    const leaving = new Map<Cell, number[]>();
    for (const id of ids) {
      const cell = this.#cellOf.get(id);
      if (!cell) continue;
      this.#forget(id);
      leaving.set(cell, [...(leaving.get(cell) ?? []), id]);
    }
    for (const [cell, left] of leaving) cell.process?.cancel(left);
  }

  running(): ReadonlySet<number> {
    return new Set([...this.#cellOf.keys(), ...this.#settling]);
  }

  isHealthy(): boolean {
    if (this.#spawnFailed) return false;
    return [...this.#cells].every((cell) => cell.mayBeSilent || !this.#isSilent(cell));
  }

  /** The processes, for metrics and tests. */
  processes(): { pid: number; triggers: number }[] {
    return [...this.#cells].flatMap(({ process, triggers }) =>
      process && !process.isOver ? [{ pid: process.pid, triggers: triggers.size }] : [],
    );
  }

  #cellFor(trigger: RunTrigger): Cell {
    const version = this.#holdsClass(trigger) ? trigger.version : null;
    const key = JSON.stringify([trigger.environment, version?.archiveDigest, version?.dagRelPath]);
    const known = [...this.#cells].find((cell) => cell.key === key);
    if (known) return known;
    return this.#newCell({ key, environment: trigger.environment, version });
  }

  #newCell(some: NewCell): Cell {
    const cell: Cell = {
      triggers: new Map(),
      process: null,
      deaths: 0,
      mayBeSilent: false,
      suspected: false,
      blockedBy: null,
      emptySince: performance.now(),
      timer: null,
      ...some,
    };
    this.#cells.add(cell);
    return cell;
  }

  /** Whether the class comes from the DAG's own files: other versions may have another one of that name. */
  #holdsClass({ classpath, codePath = classpath, version }: RunTrigger): boolean {
    if (!version) return false;
    const top = codePath.split(".")[0] ?? "";
    const key = JSON.stringify([version.archiveDigest, dirname(version.dagRelPath), top]);
    let own = this.#own.get(key);
    if (own === undefined) {
      own = [...this.#pathsOf(version), this.#config.workspace].some(
        (folder) => existsSync(join(folder, `${top}.py`)) || existsSync(join(folder, top)),
      );
      this.#own.set(key, own);
    }
    return own;
  }

  /** Where `put_on_path` lets Python look first. */
  #pathsOf({ archiveDigest, dagRelPath }: NonNullable<RunTrigger["version"]>): string[] {
    const root = this.#config.versionDir(archiveDigest);
    for (let folder = dirname(dagRelPath); folder !== "."; folder = dirname(folder)) {
      if (existsSync(join(root, folder, "leoflow.yaml"))) return [join(root, folder), root];
    }
    return [root];
  }

  #begin(cell: Cell, pauseMs: number): void {
    cell.timer ??= setTimeout(() => {
      this.#spawn(cell).catch((error: unknown) => this.#kit.logger.error({ err: error }, "triggers do not start"));
    }, pauseMs);
  }

  async #spawn(cell: Cell): Promise<void> {
    let child: ForkedChild;
    try {
      child = await this.#deps.spawn(cell.environment, cell.version);
    } catch (error) {
      cell.timer = null;
      if (this.#stopping || !this.#cells.has(cell)) return;
      this.#spawnFailed = true;
      this.#kit.logger.warn({ err: error, environment: cell.environment }, "no process for triggers; trying again");
      cell.deaths++;
      this.#begin(cell, pauseAfter(cell.deaths + 1));
      return;
    }
    cell.timer = null;
    this.#spawnFailed = false;
    const process = new TriggererProcess(
      this.#kit,
      {
        logs: this.#logs,
        handle: this.#deps.handle,
        report: (reports) => this.#take(cell, reports),
        finished: (ids) => this.#finished(ids),
        blocked: (trigger, seconds, stack) => this.#noteBlocked(cell, trigger, seconds, stack),
      },
      child,
    );
    if (this.#stopping || !this.#cells.has(cell)) {
      process.kill();
      return;
    }
    cell.process = process;
    cell.blockedBy = null;
    this.#kit.logger.info({ pid: process.pid, triggers: cell.triggers.size }, "triggers are run");
    process.create([...cell.triggers.values()]);
    void process.exited.then((exit) => this.#died(cell, process, describeExit(exit)));
  }

  async #end(cell: Cell): Promise<void> {
    this.#cells.delete(cell);
    if (cell.timer) clearTimeout(cell.timer);
    const { process } = cell;
    cell.process = null;
    await process?.stop(this.#config.graceMs);
  }

  #died(cell: Cell, process: TriggererProcess, how: string): void {
    if (cell.process !== process) return;
    cell.process = null;
    process.kill();
    if (this.#stopping) return;
    const { blockedBy } = cell;
    cell.blockedBy = null;
    const calm = performance.now() - process.startedAt > CALM_MS;
    cell.deaths = calm ? 1 : cell.deaths + 1;
    const { deaths, triggers } = cell;
    this.#kit.logger.warn({ how, triggers: triggers.size, deaths }, "the process that runs triggers ended");
    if (triggers.size === 0) {
      this.#cells.delete(cell);
      return;
    }
    const blocker = blockedBy && triggers.get(blockedBy.trigger);
    if (blocker) {
      this.#kit.logger.warn({ trigger: blocker.id, classpath: blocker.classpath }, "a trigger that blocks runs alone");
      this.#move([blocker], { ...placeOf(cell), mayBeSilent: true });
      if (triggers.size > 0) this.#begin(cell, 0);
      else this.#cells.delete(cell);
    } else if (deaths <= RESTARTS_TOGETHER) this.#begin(cell, pauseAfter(deaths));
    else if (triggers.size > 1) this.#halve(cell);
    else this.#giveUp(cell, how);
  }

  /** One of the triggers ends the process: its half will end again. */
  #halve(cell: Cell): void {
    const all = [...cell.triggers.values()];
    const half = Math.ceil(all.length / 2);
    this.#move(all.slice(0, half), { ...placeOf(cell), deaths: RESTARTS_TOGETHER });
    this.#move(all.slice(half), { ...placeOf(cell), deaths: RESTARTS_TOGETHER });
    this.#cells.delete(cell);
  }

  #move(triggers: readonly RunTrigger[], into: NewCell): void {
    const cell = this.#newCell(into);
    for (const trigger of triggers) {
      this.#cellOf.get(trigger.id)?.triggers.delete(trigger.id);
      cell.triggers.set(trigger.id, trigger);
      this.#cellOf.set(trigger.id, cell);
    }
    this.#begin(cell, 0);
  }

  #giveUp(cell: Cell, how: string): void {
    this.#cells.delete(cell);
    const [trigger] = cell.triggers.values();
    if (!trigger) return;
    const line = `The process that runs the trigger ended each time it was started: ${how}\n`;
    const report = { kind: "failure", triggerId: trigger.id, error: null, traceback: [line] } as const;
    this.#take(cell, [report]).catch((error: unknown) =>
      this.#kit.logger.error({ err: error, trigger: trigger.id }, "a trigger's failure could not be stored"),
    );
  }

  async #take(cell: Cell, reports: readonly TriggerReport[]): Promise<void> {
    // What was cancelled, or has fired already, has nothing more to say.
    const wanted: TriggerReport[] = [];
    const ending: number[] = [];
    for (const report of reports) {
      const { kind, triggerId } = report;
      if (!this.#cellOf.has(triggerId)) continue;
      wanted.push(report);
      if (kind === "event") continue;
      ending.push(triggerId);
      this.#forget(triggerId);
      this.#settling.add(triggerId);
    }
    try {
      if (wanted.length > 0) await this.#store(wanted);
    } finally {
      for (const id of ending) this.#settling.delete(id);
    }
    const { process } = cell;
    if (ending.length > 0 && process) setTimeout(() => process.cancel(ending), LEAVE_MS).unref();
  }

  /** The database may be away; nothing is lost while we live. */
  async #store(reports: readonly TriggerReport[]): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        await this.#deps.outcomes.report(reports);
        return;
      } catch (error) {
        if (this.#stopping) throw error;
        this.#kit.logger.error({ err: error, reports: reports.length }, "what triggers reported is not stored yet");
        const pause = WRITE_PAUSES_MS[Math.min(attempt, WRITE_PAUSES_MS.length - 1)] ?? 0;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  /** What ended without a word is run again when the store still wants it. */
  #finished(ids: readonly number[]): void {
    for (const id of ids) this.#forget(id);
  }

  #forget(id: number): void {
    const cell = this.#cellOf.get(id);
    if (!cell) return;
    this.#cellOf.delete(id);
    cell.triggers.delete(id);
    if (cell.triggers.size === 0) cell.emptySince = performance.now();
  }

  #noteBlocked(cell: Cell, trigger: number | null, seconds: number, stack: readonly string[]): void {
    if (trigger !== null) cell.blockedBy = { trigger, stack };
    this.#kit.logger.warn({ trigger, seconds, stack: stack.slice(-3).join("") }, "a trigger blocks all others");
  }

  #isSilent({ process }: Cell): boolean {
    return process !== null && !process.isOver && process.silenceMs > this.#config.silenceMs;
  }

  async #check(): Promise<void> {
    for (const cell of [...this.#cells]) {
      const { process } = cell;
      if (!process) continue;
      if (!this.#isSilent(cell)) cell.suspected = false;
      if (cell.triggers.size === 0 && performance.now() - cell.emptySince > this.#config.idleMs) {
        await this.#end(cell);
      } else if (this.#isSilent(cell) && !cell.mayBeSilent) {
        // Once more: it may be us who did not listen.
        if (!cell.suspected) {
          cell.suspected = true;
          continue;
        }
        this.#kit.logger.error({ pid: process.pid, ms: process.silenceMs }, "the process that runs triggers hangs");
        process.kill();
      } else if ((await residentMb(process.pid)) > this.#config.memoryMb) {
        this.#kit.logger.error({ pid: process.pid, limitMb: this.#config.memoryMb }, "triggers take too much memory");
        process.kill();
      }
    }
  }
}

function placeOf({ environment, version }: Cell): Pick<Cell, "key" | "environment" | "version"> {
  return { key: null, environment, version };
}

function pauseAfter(deaths: number): number {
  return RESTART_PAUSES_MS[Math.min(deaths - 1, RESTART_PAUSES_MS.length - 1)] ?? 0;
}

/** 0 where the system does not tell. */
async function residentMb(pid: number): Promise<number> {
  try {
    const status = await readFile(`/proc/${pid}/status`, "utf8");
    return Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}
