import type { JsonText } from "../kit/json-text.ts";
import type { RunTrigger } from "../domain/trigger.ts";
import { registerAssetChange } from "../store/asset-changes.ts";
import { hasWatchers, watchedBy, watchingTriggers } from "../store/asset-watchers.ts";
import { inTransaction } from "../store/transaction.ts";
import type { ExecutionContext } from "./context.ts";
import { withDatabase } from "./database-retry.ts";

/** Triggers that watch for assets to be updated: event-driven scheduling. */
export class AssetWatchers {
  readonly #x: ExecutionContext;

  constructor(x: ExecutionContext) {
    this.#x = x;
  }

  /** Whether any asset has a watcher; false when that cannot be read now, and the trigger feeder's tick will. */
  async any(): Promise<boolean> {
    try {
      return await hasWatchers(this.#x.deps.database.db);
    } catch (error) {
      this.#x.kit.logger.warn({ err: error }, "watchers could not be read; they are looked for again");
      return false;
    }
  }

  /** All that are to run now. */
  async triggers(): Promise<RunTrigger[]> {
    const rows = await watchingTriggers(this.#x.deps.database.db, this.#x.kit.clock.now());
    return rows.map(({ id, classpath, kwargs, assets, environment, archive_digest, dag_rel_path }) => ({
      id,
      classpath,
      kwargs,
      taskInstance: null,
      startContext: null,
      watchedAssets: Object.fromEntries(assets.map(({ name, uri }) => [name, uri])),
      environment,
      version: { archiveDigest: archive_digest, dagRelPath: dag_rel_path },
      logPath: null,
    }));
  }

  /** A trigger fired: its assets were updated (`Trigger.submit_event`). False when it watches for none. */
  async onEvent(triggerId: number, payload: JsonText): Promise<boolean> {
    const { db } = this.#x.deps.database;
    const assets = await withDatabase(this.#x, () => watchedBy(db, triggerId));
    if (assets.length === 0) return false;
    const { deps, kit, config } = this.#x;
    const context = { now: kit.clock.now(), graph: deps.graph, multiTeam: config.multiTeam };
    const extra = `{"from_trigger":true,"payload":${payload}}` as JsonText;
    const nothing = { aliases: [], partitionKey: null, partitionDate: null, source: null };
    const dagIds = await withDatabase(this.#x, () =>
      inTransaction(db, async (trx) => {
        const told = new Set<string>();
        for (const asset of assets) {
          const registered = await registerAssetChange(trx, { ...nothing, asset, extra }, context);
          for (const dagId of registered?.dagIds ?? []) told.add(dagId);
        }
        return [...told];
      }),
    );
    if (dagIds.length > 0) this.#x.deps.bus.publish({ kind: "assets-updated", dagIds });
    return true;
  }
}
