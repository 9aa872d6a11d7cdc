import type { EventBus } from "../../domain/events.ts";
import { isFinished } from "../../domain/states.ts";
import type { Kit } from "../../kit/service.ts";
import { quietArchives } from "../../store/dag-catalog-files.ts";
import type { Database } from "../../store/database.ts";
import type { VersionArchive } from "./version-archive.ts";

const SETTLE_MS = 200;

/** After tasks end, moves what they wrote beside their DAG file from the version's folder into the workspace. */
export class TaskOutputs {
  readonly #kit: Kit;
  readonly #db: Database;
  readonly #archive: VersionArchive;
  readonly #runs = new Set<number>();
  readonly #unsubscribe: () => void;
  #timer: NodeJS.Timeout | null = null;

  constructor(kit: Kit, deps: { db: Database; events: EventBus; archive: VersionArchive }) {
    this.#kit = kit;
    this.#db = deps.db;
    this.#archive = deps.archive;
    this.#unsubscribe = deps.events.on("task-instance", ({ dagRunId, state }) => {
      if (!isFinished(state)) return;
      this.#runs.add(dagRunId);
      this.#timer ??= setTimeout(() => void this.#collect(), SETTLE_MS);
    });
  }

  stop(): void {
    this.#unsubscribe();
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }

  async #collect(): Promise<void> {
    this.#timer = null;
    const runs = [...this.#runs];
    this.#runs.clear();
    try {
      // While tasks run they may rename what they write; the last one that ends brings us here again.
      for (const digest of await quietArchives(this.#db, runs)) await this.#archive.refreshLinks(digest);
    } catch (error) {
      this.#kit.logger.warn({ err: error }, "could not move what tasks wrote into the workspace");
    }
  }
}
