import { Alarm } from "../kit/alarm.ts";
import { addMicros, type Instant } from "../kit/instant.ts";
import type { Kit, Service } from "../kit/service.ts";
import type { EventBus, EventOf } from "../domain/events.ts";
import { RawJson } from "../domain/task-execution.ts";
import { triggerLogPath, type RunTrigger, type TriggerHost } from "../domain/trigger.ts";
import type { OpenDatabase } from "../store/database.ts";
import type { VersionCache } from "../store/dag-versions.ts";
import {
  cleanUnusedTriggers,
  deferredTaskInstances,
  startContextOf,
  takeTriggers,
  type WaitingTriggerRow,
} from "../store/triggers.ts";

export interface TriggerFeederDeps {
  database: Pick<OpenDatabase, "db" | "pool">;
  bus: EventBus;
  versions: VersionCache;
  host: TriggerHost;
  /** Triggers that something else than a task waits for (asset watchers, callbacks): all that are to run now. */
  others?(): Promise<readonly RunTrigger[]>;
  /** Fails those of these deferred tasks whose time is up; returns their ids. */
  timeOut(ids: readonly string[]): Promise<string[]>;
}

export interface TriggerFeederConfig {
  /** The row of `job` that stands for us. */
  jobId: number;
  /** What timed out while Leoflow was down may still see its event come first. */
  startGraceSeconds: number;
}

const TAKE_AT_ONCE = 1_000;
const RETRY_SECONDS = 5;

/**
 * Hands triggers that tasks wait for to the host, the moment a task defers; takes back those of tasks that were cleared, marked
 * or deleted; fails tasks whose trigger took too long.
 */
export class TriggerFeeder implements Service {
  readonly #kit: Kit;
  readonly #deps: TriggerFeederDeps;
  readonly #config: TriggerFeederConfig;
  readonly #timeouts: Alarm<string>;
  readonly #unsubscribe: (() => void)[] = [];
  /** Task instance → its trigger, while the host has it. */
  readonly #triggerOf = new Map<string, number>();
  readonly #deferred = new Set<string>();
  #taking: Promise<void> | null = null;
  #stopped = true;

  constructor(kit: Kit, deps: TriggerFeederDeps, config: TriggerFeederConfig) {
    this.#kit = kit;
    this.#deps = deps;
    this.#config = config;
    this.#timeouts = new Alarm(kit.clock, (ids) => void this.#timeOut(ids));
  }

  async start(): Promise<void> {
    this.#stopped = false;
    const { bus } = this.#deps;
    this.#unsubscribe.push(
      bus.on("task-instance", (event) => this.#onTaskInstance(event)),
      bus.on("kill", ({ ids }) => this.#cancel(ids)),
    );
    await this.#lookAround(addMicros(this.#kit.clock.now(), this.#config.startGraceSeconds * 1_000_000));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe();
    this.#timeouts.clear();
    await this.#taking;
  }

  /** The backstop: finds what an event missed, in both directions. */
  async runOnce(): Promise<void> {
    this.#timeouts.check();
    await this.#lookAround(null);
    await cleanUnusedTriggers(this.#deps.database.db);
  }

  /** Looks at once, as when there are other watchers than before. */
  async refresh(): Promise<void> {
    try {
      await this.#lookAround(null);
    } catch (error) {
      this.#kit.logger.error({ err: error }, "triggers could not be looked at; the next tick does");
    }
  }

  /** Resolves when every deferred task that is known has its trigger run. For tests. */
  async settled(): Promise<void> {
    while (this.#taking) await this.#taking;
  }

  #onTaskInstance(event: EventOf<"task-instance">): void {
    if (event.state === "deferred") {
      this.#want([event.id]);
      if (event.wakeAt !== null) this.#timeouts.set(event.id, event.wakeAt as Instant);
      return;
    }
    this.#triggerOf.delete(event.id);
    this.#timeouts.set(event.id, null);
    this.#deferred.delete(event.id);
  }

  #cancel(ids: readonly string[]): void {
    const triggers: number[] = [];
    for (const id of ids) {
      this.#deferred.delete(id);
      this.#timeouts.set(id, null);
      const trigger = this.#triggerOf.get(id);
      if (trigger === undefined) continue;
      this.#triggerOf.delete(id);
      triggers.push(trigger);
    }
    this.#deps.host.cancel(triggers);
  }

  #want(ids: readonly string[]): void {
    for (const id of ids) this.#deferred.add(id);
    if (this.#taking === null && !this.#stopped && this.#deferred.size > 0) {
      this.#taking = this.#take().finally(() => {
        this.#taking = null;
        // An event may have come between the last look and now.
        this.#want([]);
      });
    }
  }

  async #take(): Promise<void> {
    const { database, host } = this.#deps;
    // Events of one turn go in one statement.
    await Promise.resolve();
    while (this.#deferred.size > 0 && !this.#stopped) {
      const ids = [...this.#deferred].slice(0, TAKE_AT_ONCE);
      try {
        const rows = await takeTriggers(database.pool, this.#config.jobId, ids);
        const triggers: RunTrigger[] = [];
        for (const row of rows) {
          // Taken away meanwhile.
          if (!this.#deferred.has(row.ti_id)) continue;
          this.#triggerOf.set(row.ti_id, row.id);
          triggers.push(await this.#triggerFrom(row));
        }
        for (const id of ids) this.#deferred.delete(id);
        host.run(triggers.filter(({ taskInstance }) => taskInstance && this.#triggerOf.has(taskInstance.id)));
      } catch (error) {
        this.#kit.logger.error({ err: error }, "deferred tasks could not be read; they are looked for again");
        for (const id of ids) this.#deferred.delete(id);
      }
    }
  }

  async #triggerFrom(row: WaitingTriggerRow): Promise<RunTrigger> {
    const taskInstance = {
      id: row.ti_id,
      dagId: row.dag_id,
      runId: row.run_id,
      taskId: row.task_id,
      mapIndex: row.map_index,
      tryNumber: row.try_number,
      dagVersionId: row.dag_version_id,
      queue: row.queue ?? "default",
      poolSlots: row.pool_slots,
      priorityWeight: row.priority_weight,
      hostname: row.hostname || null,
      timeoutAt: row.trigger_timeout,
      nextKwargs: row.next_kwargs,
    };
    return {
      id: row.id,
      classpath: row.classpath,
      kwargs: row.kwargs,
      taskInstance,
      startContext: await this.#startContext(row),
      watchedAssets: null,
      environment: row.environment,
      version: { archiveDigest: row.archive_digest, dagRelPath: row.dag_rel_path },
      logPath: triggerLogPath(taskInstance, this.#config.jobId),
    };
  }

  async #startContext(row: WaitingTriggerRow): Promise<RunTrigger["startContext"]> {
    const { graph } = await this.#deps.versions.get(row.dag_version_id);
    if (!graph.tasks.get(row.task_id)?.startFromTrigger) return null;
    const found = await startContextOf(this.#deps.database.db, row);
    if (!found) return null;
    const {
      serialized,
      conf,
      consumed_asset_events,
      clear_number: _,
      triggering_user_name: __,
      note: ___,
      ...run
    } = found;
    const dagRun = {
      ...run,
      start_date: run.start_date ?? this.#kit.clock.now(),
      conf: conf === null ? null : new RawJson(conf),
      consumed_asset_events: consumed_asset_events === null ? [] : new RawJson(consumed_asset_events),
    };
    return { dag: serialized, dagRun };
  }

  /** What is past its time at the start is given until `grace`. */
  async #lookAround(grace: Instant | null): Promise<void> {
    const { database, host } = this.#deps;
    // Before the rows: what is handed over meanwhile must not be missed in them.
    const running = host.running();
    const others = (await this.#deps.others?.()) ?? [];
    const rows = await deferredTaskInstances(database.db);
    const wanted = new Set([...rows.map((row) => row.trigger_id), ...others.map(({ id }) => id)]);
    host.cancel([...running].filter((id) => !wanted.has(id)));
    host.run(others);
    const now = host.running();
    this.#want(rows.filter((row) => !now.has(row.trigger_id)).map((row) => row.id));
    for (const { id, trigger_timeout: at } of rows) {
      if (at !== null) this.#timeouts.set(id, grace !== null && at < grace ? grace : at);
    }
  }

  async #timeOut(ids: readonly string[]): Promise<void> {
    // The event of the change makes us forget which trigger was whose.
    const triggerOf = new Map(ids.map((id) => [id, this.#triggerOf.get(id)]));
    try {
      const timedOut = await this.#deps.timeOut(ids);
      this.#deps.host.cancel(timedOut.map((id) => triggerOf.get(id)).filter((id) => id !== undefined));
    } catch (error) {
      this.#kit.logger.error({ err: error }, "deferred tasks could not be timed out; they are tried again");
      const later = addMicros(this.#kit.clock.now(), RETRY_SECONDS * 1_000_000);
      for (const id of ids) this.#timeouts.set(id, later);
    }
  }
}
