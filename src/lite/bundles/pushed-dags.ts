import { lstat, mkdir, readdir, readlink, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { PushedProjects, PushOutcome, PushRefusal } from "../../api/leoflow/pushed-dags-contract.ts";
import type { EventBus } from "../../domain/events.ts";
import { newId } from "../../kit/ids.ts";
import type { Kit } from "../../kit/service.ts";
import { dagExists } from "../../store/dag-catalog-files.ts";
import type { Database } from "../../store/database.ts";
import { servedDag, stateBelow } from "../../store/pushed-dags.ts";
import { BUNDLE_MARKER, type BundlesInWorkspace, type BundleVersion } from "../workspace/bundles-in-workspace.ts";
import { messageOf } from "../workspace/discovery.ts";
import { Mutex } from "../workspace/mutex.ts";
import { filesHash } from "../workspace/project-pack.ts";
import { unpackProject, UnpackRefusal } from "./unpack-project.ts";

/** The bundle of pushed projects, and its folder in the workspace. */
export const PUSHED = "leoflow-pushed";
/** Hidden, so that nobody looks for DAG files in it: the projects' files by their hash. */
const STORE = ".store";
/** How long an answer waits for the parse; later it is asked for. */
const PATIENCE_MS = 15_000;

export interface PushedDagsDeps {
  db: Database;
  events: EventBus;
  /** The other bundles. */
  bundles: BundlesInWorkspace & { readonly roots: Map<string, string> };
  changeFolder(folder: string, change: () => Promise<void>): Promise<void>;
  /** When everything that was seen is parsed. */
  whenIdle(): Promise<void>;
}

/**
 * Projects that were pushed over the API, as a bundle in the workspace, where they are parsed, kept as versions and backed up as
 * everything there. `leoflow-pushed/<dag_id>` is a link to the files of one push, `.store/<hash>`: a push becomes the DAG's source
 * by one rename, and one that cannot be parsed is taken back.
 */
export class PushedDags implements BundlesInWorkspace, PushedProjects {
  readonly roots: ReadonlyMap<string, string>;
  readonly #kit: Kit;
  readonly #deps: PushedDagsDeps;
  readonly #folder: string;
  readonly #one = new Mutex();
  readonly #versions = new Map<string, BundleVersion>();
  readonly #outcomes = new Map<string, PushOutcome>();
  #changing: Promise<void> | null = null;

  constructor(kit: Kit, deps: PushedDagsDeps, { workspace }: { workspace: string }) {
    this.#kit = { ...kit, logger: kit.logger.child({ part: "pushed" }) };
    this.#deps = deps;
    this.#folder = join(workspace, PUSHED);
    deps.bundles.roots.set(PUSHED, PUSHED);
    this.roots = deps.bundles.roots;
  }

  /** What was pushed before, ahead of the look through the workspace. */
  async prepare(): Promise<void> {
    for (const name of await readdir(this.#folder).catch(() => [])) {
      const hash = await this.#linked(name);
      if (hash !== null) this.#versions.set(name, { name: PUSHED, version: hash });
    }
    const wanted = new Set([...this.#versions.values()].map(({ version }) => version));
    for (const name of await readdir(join(this.#folder, STORE)).catch(() => [])) {
      if (!wanted.has(name)) await rm(join(this.#folder, STORE, name), { recursive: true, force: true });
    }
    this.#deps.events.on("dag", ({ dagId }) => {
      if (this.#versions.has(dagId)) void this.#removeDeleted(dagId);
    });
  }

  async of(relPath: string): Promise<BundleVersion> {
    const [top, dagId, inside] = relPath.split("/");
    if (top !== PUSHED || dagId === undefined || inside === undefined) return this.#deps.bundles.of(relPath);
    while (this.#changing) await this.#changing;
    return this.#versions.get(dagId) ?? { name: PUSHED, version: null };
  }

  async push(dagId: string, hash: string, chunks: AsyncIterable<Uint8Array>): Promise<PushOutcome> {
    const key = `${dagId} ${hash}`;
    const staged = join(this.#folder, STORE, `new-${newId()}`);
    try {
      await this.#makeFolder();
      await mkdir(staged, { recursive: true });
      const actual = filesHash(await unpackProject(chunks, staged));
      if (actual !== hash) {
        await rm(staged, { recursive: true });
        return refused(
          "mismatch",
          `The files are ${actual}, not ${hash}: they changed while they were sent. Push again.`,
        );
      }
    } catch (error) {
      await rm(staged, { recursive: true, force: true });
      if (error instanceof UnpackRefusal) return refused(error.reason, error.message);
      throw error;
    }
    this.#outcomes.delete(key);
    this.#outcomes.set(key, { kind: "pending" });
    for (const old of [...this.#outcomes.keys()].slice(0, -100)) this.#outcomes.delete(old);
    const work = this.#one
      .run(() => this.#register(dagId, hash.replace("sha256:", ""), staged))
      .catch((error: unknown) => {
        this.#kit.logger.error({ err: error, dagId }, "could not register a pushed project");
        return refused("unavailable", `The project could not be registered: ${messageOf(error)}`);
      })
      .then(async (outcome) => {
        await rm(staged, { recursive: true, force: true });
        this.#outcomes.set(key, outcome);
        return outcome;
      });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<PushOutcome>((resolve) => {
      timer = setTimeout(() => resolve({ kind: "pending" }), PATIENCE_MS);
    });
    return Promise.race([work, late]).finally(() => clearTimeout(timer));
  }

  async outcome(dagId: string, hash: string): Promise<PushOutcome | null> {
    const known = this.#outcomes.get(`${dagId} ${hash}`);
    if (known) return known;
    return this.#live(dagId, hash.replace("sha256:", ""), false);
  }

  async #register(dagId: string, hash: string, staged: string): Promise<PushOutcome> {
    const known = await this.#live(dagId, hash, false);
    if (known && (await this.#linked(dagId)) === hash) return known;
    const served = await servedDag(this.#deps.db, dagId);
    if (served && served.bundleName !== PUSHED) {
      const message = `${dagId} is already served from ${served.relPath} of the bundle ${served.bundleName}: remove it there, or give one of them another dag_id.`;
      return refused("taken", message);
    }
    const stored = join(this.#folder, STORE, hash);
    await rename(staged, stored).catch((error: NodeJS.ErrnoException) => {
      // The same files are there already, for this DAG or another.
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
    const before = await this.#linked(dagId);
    if (!(await this.#point(dagId, hash))) return refused("unavailable", "The workspace cannot be read at the moment.");
    await this.#deps.whenIdle();
    const outcome = await this.#judge(dagId, hash);
    if (outcome.kind === "refused" && (await this.#point(dagId, before))) await this.#deps.whenIdle();
    await this.#forget(outcome.kind === "refused" ? hash : before);
    return outcome;
  }

  async #judge(dagId: string, hash: string): Promise<PushOutcome> {
    const { errors, dagIds } = await stateBelow(this.#deps.db, `${PUSHED}/${dagId}`);
    if (errors.length > 0) return refused("import-error", errors.join("\n\n"));
    const live = await this.#live(dagId, hash, true);
    if (live) return live;
    const found = dagIds.length > 0 ? `defines [${dagIds.join(" ")}], not ${dagId}` : "defines no DAG";
    return refused("import-error", `The project ${found}.`);
  }

  async #live(dagId: string, hash: string, created: boolean): Promise<PushOutcome | null> {
    const served = await servedDag(this.#deps.db, dagId);
    if (served?.bundleName !== PUSHED || served.bundleVersion !== hash) return null;
    const { versionId, versionNumber } = served;
    if (versionId === null || versionNumber === null) return null;
    return { kind: "registered", created, versionId, versionNumber };
  }

  /** Makes a push the DAG's source, or takes its source away. false: the workspace is not there. */
  async #point(
    dagId: string,
    hash: string | null,
    when: () => Promise<boolean> = () => Promise.resolve(true),
  ): Promise<boolean> {
    let done = false;
    await this.#deps.changeFolder(`${PUSHED}/${dagId}`, async () => {
      if (!(await when())) return;
      this.#changing = this.#relink(dagId, hash);
      try {
        await this.#changing;
        done = true;
      } finally {
        this.#changing = null;
      }
    });
    return done;
  }

  async #relink(dagId: string, hash: string | null): Promise<void> {
    const link = join(this.#folder, dagId);
    if (hash === null) {
      await rm(link, { force: true });
      this.#versions.delete(dagId);
      return;
    }
    const fresh = join(this.#folder, STORE, `link-${newId()}`);
    // Relative to where the link will be.
    await symlink(join(STORE, hash), fresh);
    await rename(fresh, link);
    this.#versions.set(dagId, { name: PUSHED, version: hash });
  }

  /** A pushed DAG that was deleted has no other home: its files go with it. */
  async #removeDeleted(dagId: string): Promise<void> {
    const isDeleted = async () => !(await dagExists(this.#deps.db, dagId));
    try {
      if (!(await isDeleted())) return;
      await this.#one.run(async () => {
        const hash = await this.#linked(dagId);
        if (await this.#point(dagId, null, isDeleted)) await this.#forget(hash);
      });
    } catch (error) {
      this.#kit.logger.error({ err: error, dagId }, "could not remove a pushed project");
    }
  }

  async #forget(hash: string | null): Promise<void> {
    if (hash === null || [...this.#versions.values()].some(({ version }) => version === hash)) return;
    await rm(join(this.#folder, STORE, hash), { recursive: true, force: true });
  }

  /** The hash of what is there for this DAG; null: nothing of ours. */
  async #linked(dagId: string): Promise<string | null> {
    const target = await readlink(join(this.#folder, dagId)).catch(() => null);
    return /^\.store\/([0-9a-f]{64})$/.exec(target ?? "")?.[1] ?? null;
  }

  async #makeFolder(): Promise<void> {
    await mkdir(join(this.#folder, STORE), { recursive: true });
    const marker = join(this.#folder, BUNDLE_MARKER);
    if (await lstat(marker).catch(() => null)) return;
    const own = (await readdir(this.#folder)).filter((name) => name !== STORE);
    if (own.length > 0) {
      throw new UnpackRefusal(
        "in-the-way",
        `${this.#folder} is in the way of pushed projects: give that folder another name.`,
      );
    }
    await writeFile(marker, `${JSON.stringify({ bundle: PUSHED, root: "" })}\n`);
  }
}

function refused(reason: PushRefusal, message: string): PushOutcome {
  return { kind: "refused", reason, message };
}
