import type { DagGraph } from "../domain/dag-graph.ts";
import { parseSerializedDag } from "../domain/serialized-dag.ts";
import type { Database } from "./database.ts";

/** A version with its graph: what the scheduler and the API need to work on a run. Immutable. */
export interface LoadedVersion {
  id: string;
  dagId: string;
  versionNumber: number;
  graph: DagGraph;
  archiveDigest: string;
  dagRelPath: string;
  environment: string;
  /** As of the last parse: the same code at a later commit is the same version. */
  bundle: { name: string; version: string | null };
}

/** Keeps the graphs of the versions in use; what runs of a version never changes. */
export class VersionCache {
  readonly #db: Database;
  readonly #capacity: number;
  readonly #entries = new Map<string, Promise<LoadedVersion>>();

  constructor(db: Database, capacity = 256) {
    this.#db = db;
    this.#capacity = capacity;
  }

  /** Throws when there is no such version. */
  get(id: string): Promise<LoadedVersion> {
    const found = this.#entries.get(id);
    if (found) {
      // Most recently used last.
      this.#entries.delete(id);
      this.#entries.set(id, found);
      return found;
    }
    const loading = this.#load(id);
    this.#entries.set(id, loading);
    loading.catch(() => this.#entries.delete(id));
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#capacity) break;
      this.#entries.delete(oldest);
    }
    return loading;
  }

  /** A version may have moved to a later commit of its bundle: forget what was read of this DAG. */
  forgetDag(dagId: string): void {
    for (const [id, loading] of this.#entries) {
      void loading.then((version) => {
        if (version.dagId === dagId && this.#entries.get(id) === loading) this.#entries.delete(id);
      });
    }
  }

  async #load(id: string): Promise<LoadedVersion> {
    const row = await this.#db
      .selectFrom("dag_version")
      .select(["id", "dag_id", "version_number", "serialized", "archive_digest", "dag_rel_path", "environment"])
      .select(["bundle_name", "bundle_version"])
      .where("id", "=", id)
      .executeTakeFirst();
    if (!row) throw new Error(`there is no DAG version ${id}`);
    return {
      id: row.id,
      dagId: row.dag_id,
      versionNumber: row.version_number,
      graph: parseSerializedDag(row.serialized),
      archiveDigest: row.archive_digest,
      dagRelPath: row.dag_rel_path,
      environment: row.environment,
      bundle: { name: row.bundle_name, version: row.bundle_version },
    };
  }
}
