import { Rounds } from "../kit/rounds.ts";
import type { Kit, Service } from "../kit/service.ts";
import type { EventBus } from "../domain/events.ts";
import { completeBackfills, hasActiveBackfills } from "../store/backfills.ts";
import type { Database } from "../store/database.ts";

/** Marks backfills as completed when the last of their runs has ended. */
export class BackfillFinisher implements Service {
  readonly #kit: Kit;
  readonly #deps: { db: Database; bus: EventBus };
  #unsubscribe: (() => void) | undefined;
  /** There may be backfills to complete; most of the time there are none, and no run's end costs anything. */
  #isActive = true;
  #told = 0;
  readonly #rounds = new Rounds<"all">(() => this.#work());
  #stopped = false;

  constructor(kit: Kit, deps: { db: Database; bus: EventBus }) {
    this.#kit = kit;
    this.#deps = deps;
  }

  async start(): Promise<void> {
    this.#stopped = false;
    this.#unsubscribe = this.#deps.bus.on("backfill", () => {
      this.#told++;
      this.#isActive = true;
      this.check();
    });
    await this.runOnce();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe?.();
    await this.#rounds.settled();
  }

  /** A run has ended. Many ends make one look. */
  check(): void {
    if (this.#isActive && !this.#stopped) this.#rounds.ask("all");
  }

  /** Also the backstop: runs may end by being deleted. */
  async runOnce(): Promise<void> {
    const { db } = this.#deps;
    const before = this.#told;
    const completed = await completeBackfills(db, this.#kit.clock.now());
    const isActive = await hasActiveBackfills(db);
    // One that was made while we looked says so after it was committed.
    if (before === this.#told) this.#isActive = isActive;
    for (const backfillId of completed) this.#kit.logger.info({ backfillId }, "the backfill is complete");
  }

  async #work(): Promise<void> {
    if (this.#stopped) return;
    try {
      await this.runOnce();
    } catch (error) {
      this.#kit.logger.error({ err: error }, "backfills could not be completed; the next tick tries again");
    }
  }
}
