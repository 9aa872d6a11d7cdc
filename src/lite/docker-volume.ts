import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import type { Environment } from "../kit/config.ts";
import type { Logger } from "../kit/service.ts";
import { UserError } from "../kit/user-error.ts";
import type { DatabaseConfig } from "../store/database.ts";
import { readSchemaThrough, schemaError, schemaStatus } from "../store/schema-status.ts";
import { DockerPostgres, listVolumes, removeVolumeAndContainers } from "./docker-postgres.ts";
import type { LeoflowPaths } from "./paths.ts";
import { pinnedPostgresVersion } from "./postgres/install.ts";
import type { Progress } from "./progress.ts";

const STAGING = "leoflow_adopting";
const ASIDE = "leoflow_before_adoption";

/** `managed-postgres/docker-volume.json`: which volume this home's database came from. */
interface Marker {
  volume: string;
  /** A start that was killed while adopting begins again. */
  state: "adopting" | "adopted";
  at: string;
}

export interface AdoptionOptions {
  paths: LeoflowPaths;
  environment: Pick<Environment, "dockerVolume">;
  /** The home was configured before this start, so a volume of another spelling is likely its own. */
  configured: boolean;
  progress: Progress;
  logger: Logger;
  signal?: AbortSignal | undefined;
}

export interface Adoption {
  volume: string;
  /** Puts the volume's database in the place of `database`, which must be empty. The volume stays as it is. */
  adoptInto(database: DatabaseConfig, bin: string): Promise<void>;
  close(): Promise<void>;
}

/**
 * The Docker volume whose database this home's first start is to take over. Nothing is written; a volume with somebody else's
 * data is refused. Costs a later start one look for a file.
 */
export async function findVolumeToAdopt(options: AdoptionOptions): Promise<Adoption | undefined> {
  const { paths, environment, progress, signal } = options;
  const marker = readMarker(paths);
  const resuming = marker?.state === "adopting";
  if (hasCluster(paths) && !resuming) return undefined;
  if (environment.dockerVolume === "none") {
    if (resuming) rmSync(markerFile(paths));
    return undefined;
  }
  const names = await listVolumes(signal, () =>
    progress.note("Docker does not answer; a database in a Docker volume of this home would not be found"),
  );
  const asked = environment.dockerVolume ?? (resuming ? marker.volume : undefined);
  if (asked !== undefined && !names?.includes(asked)) {
    throw new UserError(`there is no Docker volume ${asked}${names ? "" : ": Docker does not answer"}`, {
      fix: "start Docker, correct LEOFLOW_DOCKER_VOLUME, or set it to none for an empty database",
    });
  }
  const volume = asked ?? volumeOfHome(paths.home, names ?? [], options.configured);
  if (volume === undefined) return undefined;
  return progress.step(`Look into Docker volume ${volume}`, async (detail) => {
    const newestMajor = Number.parseInt(pinnedPostgresVersion(paths), 10);
    const name = `leoflow-adopt-${homeHash(paths.home)}`;
    const server = await DockerPostgres.open(volume, { name, newestMajor, detail, signal });
    if (server === "empty") return undefined;
    try {
      const database = await ourDatabase(server, volume);
      if (database !== undefined) return new VolumeAdoption(options, volume, server, database);
    } catch (error) {
      await server.close();
      throw error;
    }
    await server.close();
    return undefined;
  });
}

/** This home's volumes by their names, and the one that it adopted. */
export async function volumesOf(paths: LeoflowPaths): Promise<string[]> {
  const mine = [...ownNames(paths.home), readMarker(paths)?.volume];
  return ((await listVolumes()) ?? []).filter((name) => mine.includes(name));
}

/** For `uninstall --purge`: only what is this home's. Returns what it removed and what it could not. */
export async function removeVolume(paths: LeoflowPaths): Promise<{ volume: string; problem: string | undefined }[]> {
  const removed = [];
  for (const volume of await volumesOf(paths)) {
    removed.push({ volume, problem: await removeVolumeAndContainers(volume) });
  }
  return removed;
}

/** What this home's volume is called: by the upgrade contract, and by compose as the Go project used it. */
function ownNames(home: string): string[] {
  const hash = homeHash(home);
  return [`leoflow-data-${hash}`, `leoflow-${hash}_leoflow_pgdata`];
}

function homeHash(home: string): string {
  return createHash("sha256").update(home).digest("hex").slice(0, 12);
}

function volumeOfHome(home: string, names: readonly string[], configured: boolean): string | undefined {
  const own = ownNames(home).find((name) => names.includes(name));
  if (own !== undefined || !configured) return own;
  const similar = names.filter((name) => name.startsWith("leoflow-data-"));
  if (similar.length <= 1) return similar[0];
  throw new UserError(`there is no database yet, but several Docker volumes may hold it: ${similar.join(", ")}`, {
    fix: `name the one to take over, for example LEOFLOW_DOCKER_VOLUME=${similar[0]}, or set it to none for an empty database`,
  });
}

/** The database in the volume that is ours; undefined where all are empty. Throws where there is only somebody else's. */
async function ourDatabase(server: DockerPostgres, volume: string): Promise<string | undefined> {
  let refusal: UserError | undefined;
  for (const database of await server.databases()) {
    const ask = server.asking(database);
    const verdict = await readSchemaThrough(ask);
    if (verdict.kind === "readable" && verdict.current > 0) return database;
    if (verdict.kind !== "readable") {
      const { message } = schemaError(verdict);
      refusal ??= new UserError(`cannot take over Docker volume ${volume}, database ${database}: ${message}`, {
        fix: WAYS_OUT,
      });
      continue;
    }
    const tables = await ask(
      "select relname from pg_class where relkind = 'r' and relnamespace::regnamespace::text = 'public' order by 1 limit 4",
    );
    if (tables.length === 0) continue;
    const names = tables.map((row) => (row as { relname: string }).relname).join(", ");
    refusal ??= new UserError(
      `cannot take over Docker volume ${volume}: its database ${database} is another program's (tables ${names}, …)`,
      { fix: WAYS_OUT },
    );
  }
  if (refusal) throw refusal;
  return undefined;
}

const WAYS_OUT =
  "nothing was written. To start with an empty database set LEOFLOW_DOCKER_VOLUME=none for this start; the volume stays as it is, " +
  "for the program that made it";

class VolumeAdoption implements Adoption {
  readonly volume: string;
  readonly #options: AdoptionOptions;
  readonly #server: DockerPostgres;
  readonly #source: string;

  constructor(options: AdoptionOptions, volume: string, server: DockerPostgres, source: string) {
    this.#options = options;
    this.volume = volume;
    this.#server = server;
    this.#source = source;
    // Before the cluster is made, so that a start killed after that still knows.
    writeMarker(options.paths, { volume, state: "adopting", at: now() });
  }

  close(): Promise<void> {
    return this.#server.close();
  }

  async adoptInto(database: DatabaseConfig, bin: string): Promise<void> {
    const { progress, paths, logger, signal } = this.#options;
    await progress.step(`Take over Docker volume ${this.volume}`, async () => {
      const admin = new pg.Client({ ...database, database: "postgres" });
      await admin.connect();
      try {
        for (const name of [STAGING, ASIDE]) await admin.query(`drop database if exists ${name} with (force)`);
        await admin.query(`create database ${STAGING}`);
        const staging = { ...database, database: STAGING };
        await this.#server.dumpInto(this.#source, loader(staging, bin), signal);
        const rows = await this.#check(staging);
        const target = pg.escapeIdentifier(database.database);
        await admin.query("begin");
        await admin.query(`alter database ${target} rename to ${ASIDE}`);
        await admin.query(`alter database ${STAGING} rename to ${target}`);
        await admin.query("commit");
        await admin.query(`drop database ${ASIDE} with (force)`);
        logger.info({ volume: this.volume, rows }, "took over the database of a Docker volume");
      } finally {
        await admin.end();
      }
      writeMarker(paths, { volume: this.volume, state: "adopted", at: now() });
    });
    await this.close();
    progress.note(
      `The database of Docker volume ${this.volume} is now in ${paths.managedPostgres}; the volume is as it was and no longer used`,
    );
  }

  /** The same schema and, where nobody writes there, the same number of rows. Returns that number. */
  async #check(staging: DatabaseConfig): Promise<number> {
    const client = new pg.Client(staging);
    await client.connect();
    try {
      await schemaStatus(client);
      const here = await countRows(async (statement) => (await client.query<object>(statement)).rows);
      const there = this.#server.isOurs ? await countRows(this.#server.asking(this.#source)) : here;
      const wrong = [...there].filter(([table, count]) => here.get(table) !== count);
      if (wrong.length > 0) {
        throw new UserError(
          `the copy of Docker volume ${this.volume} is not whole: ${wrong.map(([table]) => table).join(", ")} differ`,
          { fix: "nothing was changed; start again" },
        );
      }
      return [...here.values()].reduce((sum, count) => sum + count, 0);
    } finally {
      await client.end();
    }
  }
}

async function countRows(ask: (statement: string) => Promise<unknown[]>): Promise<Map<string, number>> {
  const tables = await ask(
    "select relname as name, format('select %L as name, count(*)::int as rows from public.%I', relname, relname) as query " +
      "from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1",
  );
  const queries = tables.map((row) => (row as { query: string }).query);
  const counts = queries.length === 0 ? [] : await ask(queries.join(" union all "));
  return new Map(
    counts.map((row) => {
      const { name, rows } = row as { name: string; rows: number };
      return [name, rows];
    }),
  );
}

function loader({ host, port, user, password, database }: DatabaseConfig, bin: string) {
  const target = ["-h", host, "-p", String(port), "-U", user, "-d", database];
  return {
    command: [join(bin, "psql"), "-X", "-q", "--single-transaction", "--set=ON_ERROR_STOP=1", ...target],
    env: { PGPASSWORD: password, PGOPTIONS: "-c client_min_messages=warning" },
  };
}

function hasCluster(paths: LeoflowPaths): boolean {
  return readIfThere(join(paths.managedPostgres, "data/PG_VERSION")) !== undefined;
}

const markerFile = (paths: LeoflowPaths) => join(paths.managedPostgres, "docker-volume.json");
const now = () => `${new Date().toISOString().slice(0, 19)}Z`;

function readMarker(paths: LeoflowPaths): Marker | undefined {
  const text = readIfThere(markerFile(paths));
  return text === undefined ? undefined : (JSON.parse(text) as Marker);
}

function writeMarker(paths: LeoflowPaths, marker: Marker): void {
  const file = markerFile(paths);
  mkdirSync(paths.managedPostgres, { recursive: true, mode: 0o700 });
  writeFileSync(`${file}.tmp`, `${JSON.stringify(marker, null, 2)}\n`, { mode: 0o600, flush: true });
  renameSync(`${file}.tmp`, file);
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
