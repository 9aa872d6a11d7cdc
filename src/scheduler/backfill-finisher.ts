import type { Kit, Service } from "../kit/service.ts";
import { completeBackfills } from "../store/backfills.ts";
import type { Database } from "../store/database.ts";

/** Marks backfills as completed when the last of their runs has ended. */
export class BackfillFinisher implements Service {
  readonly #kit: Kit;
  readonly #db: Database;
  #working: Promise<void> | null = null;
  #again = false;
  #stopped = false;

  constructor(kit: Kit, deps: { db: Database }) {
    this.#kit = kit;
    this.#db = deps.db;
  }

  async start(): Promise<void> {
    this.#stopped = false;
    await this.runOnce();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#working;
  }

  /** A run of a backfill has ended. Many ends make one look. */
  check(): void {
    this.#again = true;
    if (this.#working !== null || this.#stopped) return;
    this.#working = this.#work().finally(() => (this.#working = null));
  }

  /** Also the backstop: runs may end by being deleted. */
  async runOnce(): Promise<void> {
    const completed = await completeBackfills(this.#db, this.#kit.clock.now());
    for (const backfillId of completed) this.#kit.logger.info({ backfillId }, "the backfill is complete");
  }

  async #work(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      try {
        await this.runOnce();
      } catch (error) {
        this.#kit.logger.error({ err: error }, "backfills could not be completed; the next tick tries again");
      }
    }
  }
}
