import type { SerializedTimetable } from "../domain/dag-graph.ts";
import type { Reply, ToSupervisor } from "../domain/task-execution.ts";
import type { TimetableAnswer, TimetableFailure, TimetableQuestion } from "../domain/timetable/custom.ts";
import { describeExit } from "./forked-child.ts";
import { oneAnswer, type OneAnswer } from "./one-answer.ts";
import { Turnstile } from "./turnstile.ts";
import type { ZygoteControl } from "./zygote-control.ts";

export interface TimetableAskerDeps {
  control(environment: string): Promise<ZygoteControl>;
  /** Answers what the timetable's code asks for (Variables, Connections). */
  handle: (message: ToSupervisor) => Promise<Reply>;
}

export interface TimetableAskerConfig {
  /** How long the next run and a data interval may take. */
  deadlineMs: number;
  /** How long all runs of a backfill may take. */
  longDeadlineMs: number;
  memoryMb: number;
  /** Children at a time. */
  width: number;
}

export const DEFAULT_TIMETABLE_ASKER: TimetableAskerConfig = {
  deadlineMs: 15_000,
  longDeadlineMs: 60_000,
  memoryMb: 1024,
  width: 8,
};

const ATTEMPTS = 2;

/**
 * Asks users' own timetables, each question in a fork of the warm Python that loads the plugins folder anew: it knows the
 * plugins as they are now, and whatever the code does ends with it. Timetables that did not answer the last time wait for each
 * other in a queue of their own, so that they take no place from those that do.
 */
export class TimetableAsker {
  readonly #deps: TimetableAskerDeps;
  readonly #config: TimetableAskerConfig;
  readonly #usual: Turnstile;
  readonly #suspects = new Turnstile(1);
  readonly #silent = new Set<string>();

  constructor(deps: TimetableAskerDeps, config: TimetableAskerConfig) {
    this.#deps = deps;
    this.#config = config;
    this.#usual = new Turnstile(config.width);
  }

  async ask(
    environment: string,
    timetable: SerializedTimetable,
    question: TimetableQuestion,
  ): Promise<TimetableAnswer> {
    const key = `${environment} ${timetable.type}`;
    const turnstile = this.#silent.has(key) ? this.#suspects : this.#usual;
    const answer = await turnstile.run(() => this.#ask(environment, timetable, question));
    if (answer.failure?.kind === "no answer") this.#silent.add(key);
    else this.#silent.delete(key);
    return answer;
  }

  async #ask(
    environment: string,
    timetable: SerializedTimetable,
    question: TimetableQuestion,
  ): Promise<TimetableAnswer> {
    const { deadlineMs, longDeadlineMs, memoryMb } = this.#config;
    const timeoutMs = question.kind === "between" ? longDeadlineMs : deadlineMs;
    const command = { op: "timetable", type: timetable.type, data: timetable.data, question, memoryMb };
    try {
      for (let attempt = 1; ; attempt++) {
        const control = await this.#deps.control(environment);
        const answer = await oneAnswer<TimetableAnswer>(control, command, { timeoutMs, handle: this.#deps.handle });
        if (answer.value) return answer.value;
        // Not by itself and not by us: Python was killed under the question.
        const wasKilled = !answer.timedOut && answer.exit?.signal === "SIGKILL";
        if (!wasKilled || attempt === ATTEMPTS) return failed(noAnswer(timetable, answer, timeoutMs));
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return failed({ kind: "no answer", reason, details: "", isValueError: false });
    }
  }
}

function noAnswer(
  { type }: SerializedTimetable,
  answer: OneAnswer<TimetableAnswer>,
  timeoutMs: number,
): TimetableFailure {
  const reason = answer.timedOut
    ? `${type} gave no answer within ${timeoutMs / 1000} s and was ended`
    : `the process that asked ${type} ended: ${describeExit(answer.exit ?? { code: null, signal: null })}`;
  return { kind: "no answer", reason, details: answer.output, isValueError: false };
}

function failed(failure: TimetableFailure): TimetableAnswer {
  return { runs: [], dataInterval: null, runId: null, failure };
}
