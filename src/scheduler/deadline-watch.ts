import { Alarm } from "../kit/alarm.ts";
import { addMicros, parseInstant, type Instant } from "../kit/instant.ts";
import { fromJsonText, type JsonText, type JsonValue } from "../kit/json-text.ts";
import { Rounds } from "../kit/rounds.ts";
import type { Kit, Service } from "../kit/service.ts";
import type { CallbackOutcome } from "../domain/callback.ts";
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
  /** Evaluates a reference that is Python code of the user's own. */
  reference: (deadline: UnresolvedDeadline) => Promise<CallbackOutcome>;
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
  #alertsMayBeNew = true;
  #hasAlerts = false;
  readonly #rounds = new Rounds<"all">(() => this.#work());
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
    await this.#rounds.settled();
  }

  /** The backstop, for a stepped clock and for lost events. */
  runOnce(): void {
    this.#alarm.check();
    this.#look();
  }

  /** Resolves when everything that is due has been seen to. For tests. */
  settled(): Promise<void> {
    return this.#rounds.settled();
  }

  #look(): void {
    if (!this.#stopped) this.#rounds.ask("all");
  }

  async #work(): Promise<void> {
    if (this.#stopped) return;
    const { db } = this.#deps;
    try {
      if (this.#alertsMayBeNew) {
        this.#alertsMayBeNew = false;
        this.#hasAlerts = await anyDeadlineAlert(db);
      }
      if (!this.#hasAlerts) return;
      // One that cannot be resolved now must not keep the others.
      const failures: unknown[] = [];
      for (const deadline of await unresolvedDeadlines(db)) {
        await this.#resolve(deadline).catch((error: unknown) => failures.push(error));
      }
      for (;;) {
        const missed = await missDeadlines(db, this.#kit.clock.now());
        for (const { dag_id, run_id, alert } of missed) {
          this.#kit.logger.warn({ dagId: dag_id, runId: run_id, alert }, "a deadline was missed");
        }
        if (missed.some(({ type }) => type === "executor")) this.#deps.bus.publish({ kind: "callback" });
        if (missed.some(({ type }) => type === "triggerer")) this.#deps.triggersChanged();
        if (missed.length === 0) break;
      }
      if (failures.length > 0) throw new AggregateError(failures, "not all deadlines could be resolved");
      this.#alarm.set("next", await nextDeadline(db));
    } catch (error) {
      this.#kit.logger.error({ err: error }, "deadlines could not be looked at; they are looked at again");
      this.#alertsMayBeNew = true;
      this.#alarm.set("next", addMicros(this.#kit.clock.now(), RETRY_MICROS));
    }
  }

  /** Airflow would fail to make the run; here the run goes on without the deadline, and our log says why. */
  async #resolve(deadline: UnresolvedDeadline): Promise<void> {
    const { db } = this.#deps;
    const { id, dag_id, run_id } = deadline;
    const seconds = await this.#secondsOf(deadline.interval);
    const from = typeof seconds === "number" ? await this.#reference(deadline) : null;
    const problem = typeof seconds === "string" ? seconds : from !== null && "problem" in from ? from.problem : null;
    if (problem === null && typeof seconds === "number" && from !== null && "at" in from) {
      await resolveDeadline(db, id, { from: from.at, seconds, now: this.#kit.clock.now() });
      return;
    }
    if (problem === null)
      this.#kit.logger.info({ dagId: dag_id, runId: run_id }, "the run's deadline refers to nothing");
    else this.#kit.logger.error({ dagId: dag_id, runId: run_id, problem }, "the run has no deadline");
    await dropDeadline(db, id);
  }

  /** The interval's seconds, or what is wrong with the Variable that tells them. */
  async #secondsOf(interval: JsonText): Promise<number | string> {
    const value = fromJsonText<JsonValue>(interval);
    if (typeof value === "number") return value;
    const data = typeof value === "object" && value !== null && !Array.isArray(value) ? value["__data__"] : null;
    if (typeof data === "number") return data;
    const key = typeof data === "object" && data !== null && !Array.isArray(data) ? data["key"] : null;
    if (typeof key !== "string") return "its interval is of no known kind";
    const seconds = await this.#deps.variable(key);
    if (seconds === null) return `VariableInterval '${key}' not found`;
    if (/^\s*[+-]?\d+\s*$/.test(seconds)) return Number(seconds);
    return `VariableInterval '${key}' must be an integer (seconds), got: '${seconds}'`;
  }

  /** What a reference of the user's own says; `at` null: what was known when the run was made. null: it has no time. */
  async #reference(deadline: UnresolvedDeadline): Promise<{ at: Instant | null } | { problem: string } | null> {
    const reference = fromJsonText<{ __class_path?: string }>(deadline.reference);
    if (reference.__class_path === undefined) return { at: null };
    const outcome = await this.#deps.reference(deadline);
    if (outcome.kind !== "done") return { problem: outcome.kind === "lost" ? outcome.reason : "it takes too long" };
    const [error] = outcome.errors;
    if (error !== undefined) return { problem: error };
    if (!outcome.value) return null;
    try {
      return { at: parseInstant(outcome.value) };
    } catch {
      return { problem: `its reference gives no moment: ${outcome.value}` };
    }
  }
}
