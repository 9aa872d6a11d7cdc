import { mkdir, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { UnpackRefusal, unpackProject } from "../lite/bundles/unpack-project.ts";
import { digestOf, VERSION_MANIFEST, type VersionManifest } from "../lite/workspace/version-archive.ts";
import { newId } from "../kit/ids.ts";
import type { Kit } from "../kit/service.ts";
import { detailOf, isPassing, Pauses, reasonOf, type ServerClient } from "./server-client.ts";

export interface VersionFilesConfig {
  folder: string;
  /** Versions that no task asked for in this time go. */
  maxAgeMs: number;
  /** Beyond this the ones that were not asked for longest go, apart from those asked for in the last hour. */
  maxBytes: number;
}

export const VERSION_LIMITS = { maxAgeMs: 30 * 86_400_000, maxBytes: 2 * 1024 ** 3 };

const TEMPORARY = ".tmp-";
const IN_USE_MS = 3_600_000;
const MAX_DAMAGED = 2;

/** The files of DAG versions on an agent: fetched once, by their digest, and checked as they were made. */
export class VersionFiles {
  readonly #kit: Kit;
  readonly #client: ServerClient;
  readonly #config: VersionFilesConfig;
  readonly #fetching = new Map<string, Promise<void>>();

  constructor(kit: Kit, client: ServerClient, config: VersionFilesConfig) {
    this.#kit = kit;
    this.#client = client;
    this.#config = config;
  }

  /** Where a version's files are, once `ensure` has resolved. */
  folderOf(digest: string): string {
    return join(this.#config.folder, digest);
  }

  /** Resolves when the version is here. Who asks for one that is on its way waits for the same. */
  async ensure(digest: string): Promise<void> {
    if (!/^[0-9a-f]{64}$/.test(digest)) throw new Error(`${JSON.stringify(digest)} names no DAG version`);
    const now = new Date();
    const isHere = await utimes(this.folderOf(digest), now, now).then(
      () => true,
      () => false,
    );
    if (isHere) return;
    let fetching = this.#fetching.get(digest);
    if (!fetching) {
      fetching = this.#fetch(digest).finally(() => this.#fetching.delete(digest));
      this.#fetching.set(digest, fetching);
    }
    await fetching;
  }

  async manifest(digest: string): Promise<VersionManifest> {
    return JSON.parse(await readFile(join(this.folderOf(digest), VERSION_MANIFEST), "utf8")) as VersionManifest;
  }

  /** Removes what is too old or too much and not in use, and what a killed agent had begun. Returns how many went. */
  async collectGarbage(inUse: ReadonlySet<string>, nowMs = Date.now()): Promise<number> {
    const found: { path: string; usedMs: number; bytes: number }[] = [];
    let removed = 0;
    for (const name of await readdir(this.#config.folder).catch(() => [])) {
      const path = join(this.#config.folder, name);
      const usedMs = (await stat(path).catch(() => null))?.mtimeMs;
      if (usedMs === undefined || nowMs - usedMs < IN_USE_MS || inUse.has(name)) continue;
      if (name.startsWith(TEMPORARY)) {
        await rm(path, { recursive: true, force: true });
        removed++;
      } else found.push({ path, usedMs, bytes: await sizeOf(path) });
    }
    let bytes = 0;
    for (const version of found.sort((a, b) => b.usedMs - a.usedMs)) {
      bytes += version.bytes;
      if (nowMs - version.usedMs < this.#config.maxAgeMs && bytes <= this.#config.maxBytes) continue;
      await rm(version.path, { recursive: true, force: true });
      removed++;
    }
    return removed;
  }

  async #fetch(digest: string): Promise<void> {
    const pauses = new Pauses();
    for (let damaged = 0; ;) {
      const temporary = join(this.#config.folder, TEMPORARY + newId());
      try {
        await mkdir(temporary, { recursive: true });
        await this.#download(digest, temporary);
        await rename(temporary, this.folderOf(digest));
        return;
      } catch (error) {
        await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
        if (error instanceof NotToBeHad) throw error;
        const { code = "", path } = error as NodeJS.ErrnoException;
        // Of this machine's disk, not of the network.
        if (path !== undefined || ["ENOSPC", "EDQUOT", "EIO"].includes(code)) {
          throw new NotToBeHad(`the DAG's files cannot be kept on this agent: ${reasonOf(error)}`);
        }
        if (error instanceof UnpackRefusal && ++damaged >= MAX_DAMAGED) {
          throw new NotToBeHad(`the DAG's files came from the server damaged: ${error.message}`);
        }
        this.#kit.logger.warn({ digest, reason: reasonOf(error) }, "could not fetch a DAG version; asking again");
        await pauses.next();
      }
    }
  }

  async #download(digest: string, folder: string): Promise<void> {
    const response = await this.#client.open({ method: "GET", path: `/versions/${digest}` });
    const status = response.statusCode ?? 0;
    if (status !== 200) {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      const detail = detailOf({ status, body: Buffer.concat(chunks) });
      if (isPassing(status)) throw new Error(detail);
      throw new NotToBeHad(`the server does not have the DAG's files any more (version ${digest}): ${detail}`);
    }
    const files = await unpackProject(response, folder);
    const content = await readFile(join(folder, VERSION_MANIFEST), "utf8").catch(() => "{}");
    const { pinned = [] } = JSON.parse(content) as Partial<VersionManifest>;
    const sums = new Map(files.map(({ path, sha256 }) => [path, sha256]));
    sums.delete(VERSION_MANIFEST);
    const isWhole = sums.size === pinned.length && pinned.every(([path, sum]) => sums.get(path) === sum);
    if (!isWhole || digestOf(pinned) !== digest) throw new UnpackRefusal("damaged", "its files are not those it names");
  }
}

/** Asking again will not help. */
class NotToBeHad extends Error {}

async function sizeOf(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true }).catch(() => []);
  const sizes = await Promise.all(entries.map((name) => stat(join(folder, name)).catch(() => null)));
  return sizes.reduce((sum, found) => sum + (found?.size ?? 0), 0);
}
