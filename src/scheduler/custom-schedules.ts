import type { AskTimetable, CustomRun, TimetableAnswer, TimetableFailure } from "../domain/timetable/custom.ts";
import type { NextRunInput, TimeRestriction } from "../domain/timetable/timetable.ts";
import { addMicros, type Instant } from "../kit/instant.ts";
import type { Kit } from "../kit/service.ts";

/** Runs asked for at once: catching up makes one after the other. */
const AHEAD = 10;
const SECOND = 1_000_000;
/** An answer may depend on the time: what is older is not acted on. */
const FRESH = 60 * SECOND;
/** A timetable may change its mind without being told, and one that fails may do better later. */
const FIRST_LOOK_AGAIN = 60 * SECOND;
const LAST_LOOK_AGAIN = 600 * SECOND;

export interface CustomQuestion {
  dagId: string;
  versionId: string;
  last: NextRunInput["last"];
  restriction: TimeRestriction;
}

export interface CustomNext {
  run: CustomRun | null;
  failure: TimetableFailure | null;
  /** When to ask again, whatever happens. */
  lookAgainAt: Instant;
}

interface Kept {
  versionId: string;
  /** By the run before. */
  next: Map<string, CustomNext>;
  askedAt: Instant;
  /** How often in a row it named no run. */
  silences: number;
}

/**
 * The next runs of users' own timetables. Python is asked once for several runs, and again when a DAG changed, a run was made
 * that was not foreseen, or a run is due and its answer is no longer fresh.
 */
export class CustomSchedules {
  readonly #kit: Kit;
  readonly #ask: AskTimetable;
  readonly #kept = new Map<string, Kept>();
  readonly #stopped: Promise<null>;
  #stop!: () => void;

  constructor(kit: Kit, ask: AskTimetable) {
    this.#kit = kit;
    this.#ask = ask;
    this.#stopped = new Promise((resolve) => (this.#stop = () => resolve(null)));
  }

  /** Waits for no answer any more. */
  stop(): void {
    this.#stop();
  }

  /** The DAG changed: its timetable may be another one, or may have been mended. */
  forget(dagId: string): void {
    this.#kept.delete(dagId);
  }

  /** Every timetable may be another one now. Returns the DAGs that have one. */
  forgetAll(): string[] {
    const dagIds = [...this.#kept.keys()];
    this.#kept.clear();
    return dagIds;
  }

  /** null: we are being stopped. */
  async next(question: CustomQuestion): Promise<CustomNext | null> {
    const { dagId, versionId } = question;
    const kept = this.#kept.get(dagId);
    const known = kept?.versionId === versionId ? kept.next.get(keyOf(question.last)) : undefined;
    if (kept && known && this.#isGood(kept, known)) return known;
    const { last, restriction } = question;
    const answer = await Promise.race([
      this.#ask(versionId, { kind: "next", last, restriction, count: AHEAD }),
      this.#stopped,
    ]);
    if (answer === null) return null;
    const made = this.#keep(question, answer, kept?.versionId === versionId ? kept.silences : 0);
    const next = made.next.get(keyOf(last)) as CustomNext;
    if (next.failure) {
      const { reason, details } = next.failure;
      this.#kit.logger.error({ dagId, details }, `the timetable of ${dagId} named no next run: ${reason}`);
    }
    return next;
  }

  #isGood(kept: Kept, { run, lookAgainAt }: CustomNext): boolean {
    const now = this.#kit.clock.now();
    if (lookAgainAt <= now) return false;
    return run === null || run.runAfter > now || addMicros(kept.askedAt, FRESH) > now;
  }

  #keep({ dagId, versionId, last }: CustomQuestion, { runs, failure }: TimetableAnswer, silences: number): Kept {
    const askedAt = this.#kit.clock.now();
    const isSilent = runs.length === 0;
    const patience = Math.min(FIRST_LOOK_AGAIN * 2 ** silences, LAST_LOOK_AGAIN);
    const lookAgainAt = addMicros(askedAt, isSilent ? patience : LAST_LOOK_AGAIN);
    const next = new Map<string, CustomNext>();
    let before: NextRunInput["last"] = last;
    for (const run of runs) {
      const key = keyOf(before);
      // It stands still: what it names has been made, and would be named for ever.
      if (next.has(key)) break;
      next.set(key, { run, failure: null, lookAgainAt });
      before = run;
    }
    const end = keyOf(before);
    if (!next.has(end) && (runs.length < AHEAD || failure)) next.set(end, { run: null, failure, lookAgainAt });
    const kept = { versionId, next, askedAt, silences: isSilent ? silences + 1 : 0 };
    this.#kept.set(dagId, kept);
    return kept;
  }
}

function keyOf(last: NextRunInput["last"]): string {
  return last === null ? "" : `${last.runAfter} ${last.dataInterval?.start ?? ""} ${last.dataInterval?.end ?? ""}`;
}
