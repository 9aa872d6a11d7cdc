import { Alarm } from "../kit/alarm.ts";
import { addMicros } from "../kit/instant.ts";
import { fromJsonText, type JsonValue } from "../kit/json-text.ts";
import type { Kit, Service } from "../kit/service.ts";
import type { EventBus } from "../domain/events.ts";
import type { Database } from "../store/database.ts";
import {
  anyDeadlineAlert,
  dropDeadline,
  missDeadlines,
  nextDeadline,
  resolveDeadline,
  unresolvedDeadlines,
  type UnresolvedDeadline,
} from "../store/deadlines.ts";

export interface DeadlineWatchDeps {
  db: Database;
  bus: EventBus;
  /** The value of a Variable; null when there is none. */
  variable: (key: string) => Promise<string | null>;
  /** There are triggers to run that no task waits for. */
  triggersChanged: () => void;
}

const RETRY_MICROS = 5_000_000;

/**
 * Finds deadlines the moment they pass, by one alarm for the next of them, and has their callbacks called. Who makes a run
 * makes its deadlines with it; the event of a new run makes us look when the next one is.
 */
export class DeadlineWatch implements Service {
  readonly #kit: Kit;
  readonly #deps: DeadlineWatchDeps;
  readonly #alarm: Alarm<"next">;
  readonly #unsubscribe: (() => void)[] = [];
  #wanted = false;
  #alertsMayBeNew = true;
  #hasAlerts = false;
  #looking: Promise<void> | null = null;
  #stopped = true;

  constructor(kit: Kit, deps: DeadlineWatchDeps) {
    this.#kit = kit;
    this.#deps = deps;
    this.#alarm = new Alarm(kit.clock, () => this.#look());
  }

  async start(): Promise<void> {
    this.#stopped = false;
    const { bus } = this.#deps;
    this.#unsubscribe.push(
      bus.on("dag-run", () => {
        if (this.#hasAlerts || this.#alertsMayBeNew) this.#look();
      }),
      bus.on("dag", () => (this.#alertsMayBeNew = true)),
    );
    this.#look();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe();
    this.#alarm.clear();
    await this.#looking;
  }

  /** The backstop, for a stepped clock and for lost events. */
  runOnce(): void {
    this.#alarm.check();
    this.#look();
  }

  /** Resolves when everything that is due has been seen to. For tests. */
  async settled(): Promise<void> {
    while (this.#looking) await this.#looking;
  }

  #look(): void {
    this.#wanted = true;
    if (this.#stopped) return;
    this.#looking ??= this.#work().finally(() => {
      this.#looking = null;
      if (this.#wanted) this.#look();
    });
  }

  async #work(): Promise<void> {
    // Many runs are made in one turn.
    await Promise.resolve();
    this.#wanted = false;
    const { db } = this.#deps;
    try {
      if (this.#alertsMayBeNew) {
        this.#alertsMayBeNew = false;
        this.#hasAlerts = await anyDeadlineAlert(db);
      }
      if (!this.#hasAlerts) return;
      for (const deadline of await unresolvedDeadlines(db)) await this.#resolve(deadline);
      for (;;) {
        const missed = await missDeadlines(db, this.#kit.clock.now());
        for (const { dag_id, run_id, alert } of missed) {
          this.#kit.logger.warn({ dagId: dag_id, runId: run_id, alert }, "a deadline was missed");
        }
        if (missed.some(({ type }) => type === "executor")) this.#deps.bus.publish({ kind: "callback" });
        if (missed.some(({ type }) => type === "triggerer")) this.#deps.triggersChanged();
        if (missed.length === 0) break;
      }
      this.#alarm.set("next", await nextDeadline(db));
    } catch (error) {
      this.#kit.logger.error({ err: error }, "deadlines could not be looked at; they are looked at again");
      this.#alertsMayBeNew = true;
      this.#alarm.set("next", addMicros(this.#kit.clock.now(), RETRY_MICROS));
    }
  }

  /** Airflow would fail to make the run; here the run goes on without the deadline, and our log says why. */
  async #resolve({ id, dag_id, run_id, interval, reference }: UnresolvedDeadline): Promise<void> {
    const { db, variable } = this.#deps;
    const { __data__: data } = fromJsonText<{ __data__?: { key?: JsonValue } }>(interval);
    const custom = fromJsonText<{ __class_path?: string }>(reference).__class_path;
    const key = data?.key;
    let problem = custom === undefined ? null : `its reference ${custom} is Python code`;
    if (problem === null && typeof key === "string") {
      const value = await variable(key);
      if (value !== null && /^\s*[+-]?\d+\s*$/.test(value)) {
        await resolveDeadline(db, id, Number(value), this.#kit.clock.now());
        return;
      }
      problem =
        value === null
          ? `VariableInterval '${key}' not found`
          : `VariableInterval '${key}' must be an integer (seconds), got: '${value}'`;
    }
    this.#kit.logger.error({ dagId: dag_id, runId: run_id, problem }, "the run has no deadline");
    await dropDeadline(db, id);
  }
}
