import { readdir, rm, rmdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { instantMs } from "../kit/instant.ts";
import { Rounds } from "../kit/rounds.ts";
import type { Kit } from "../kit/service.ts";
import type { Database } from "../store/database.ts";
import { runStates, type RunState } from "../store/run-states.ts";

/** A run that failed keeps its files for so long; so do files of no run. */
const KEPT_MS = 24 * 3600 * 1000;
const DAG = "dag_id=";
const RUN = "run_id=";

/**
 * The folder that each run's tasks share (LEOFLOW_STAGING_DIR). leoflow_runtime/staging.py makes them; here they end: with a run
 * that succeeded at once, with one that failed after a day, so that what it left can be looked at and a clear finds it.
 */
export class StagingFolders {
  readonly #kit: Kit;
  readonly #db: Database;
  readonly #root: string;
  readonly #rounds = new Rounds<string>((dagId) => this.#sweep(dagId));

  constructor(kit: Kit, db: Database, root: string) {
    this.#kit = kit;
    this.#db = db;
    this.#root = root;
  }

  /** The folder of a run's files; null before its first task, and when it is over. */
  async find(dagId: string, runId: string): Promise<string | null> {
    const folder = join(this.#root, DAG + dagId, RUN + runId);
    return await stat(folder).then(
      () => folder,
      () => null,
    );
  }

  runFinished(dagId: string): void {
    this.#rounds.ask(dagId);
  }

  /** All of them: what a Leoflow left that was stopped or killed, and what is old enough by now. */
  async runOnce(): Promise<void> {
    for (const name of await namesIn(this.#root)) if (name.startsWith(DAG)) this.#rounds.ask(name.slice(DAG.length));
    await this.#rounds.settled();
  }

  async #sweep(dagId: string): Promise<void> {
    try {
      const folder = join(this.#root, DAG + dagId);
      const runIds = (await namesIn(folder))
        .filter((name) => name.startsWith(RUN))
        .map((name) => name.slice(RUN.length));
      if (runIds.length === 0) return;
      const states = new Map((await runStates(this.#db, dagId, runIds)).map((run) => [run.run_id, run]));
      for (const runId of runIds) {
        const path = join(folder, RUN + runId);
        if (await this.#isOver(path, states.get(runId))) await rm(path, { recursive: true, force: true });
      }
      // Fails while there is a run in it.
      await rmdir(folder).catch(() => undefined);
    } catch (error) {
      this.#kit.logger.warn({ err: error, dagId }, "could not clear staging folders");
    }
  }

  async #isOver(path: string, run: RunState | undefined): Promise<boolean> {
    if (run?.state === "success") return true;
    if (run && run.state !== "failed") return false;
    const since = run?.end_date ? instantMs(run.end_date) : (await stat(path)).mtimeMs;
    return instantMs(this.#kit.clock.now()) - since > KEPT_MS;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
}
