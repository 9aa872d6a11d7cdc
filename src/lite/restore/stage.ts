import { chmodSync, existsSync, lstatSync, mkdirSync, realpathSync, renameSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { archiveEntries, type VerifiedArchive } from "../../backup/archive.ts";
import { extractEntries } from "../../backup/extract.ts";
import { replayWithPsql } from "../../backup/restore-database.ts";
import { refuseOtherSchema } from "../../backup/schema-refusal.ts";
import {
  countRestoredRows,
  createStagingDatabase,
  moveDagFiles,
  restoredSchemaVersion,
  STAGING_DATABASE,
  withClient,
  withServer,
  type RestoredRows,
} from "../../backup/staging-database.ts";
import type { TarEntry } from "../../kit/tar/tar-reader.ts";
import { formatBytes } from "../../kit/bytes.ts";
import type { Datastore } from "../datastore.ts";
import type { LeoflowPaths } from "../paths.ts";
import { isThere, syncFolder } from "./durable-files.ts";
import { moveConfig } from "./moved-config.ts";
import { keepAside, type Place, type Replacement } from "./places.ts";
import type { Move } from "./target-workspace.ts";
import { relinkVersions } from "./version-links.ts";
import { exchangeContent } from "./workspace-content.ts";

/** What is restored, from where to where. */
export interface Plan {
  archive: string;
  passphrase: string | undefined;
  verified: VerifiedArchive;
  paths: LeoflowPaths;
  /** Of the other machine's places to this one's. */
  move: Move;
  /** Where the workspace goes; undefined where the archive has none. */
  workspace: string | undefined;
  /** By this command, and not by the archive. */
  workspaceWasChosen: boolean;
}

/** Where things wait: beside their targets, on the same file systems. */
export interface StagingFolders {
  home: string;
  workspace: string | undefined;
}

export interface StageOptions {
  signal: AbortSignal | undefined;
  detail: (text: string) => void;
  onStep: (name: string) => Promise<void> | void;
}

/** Unpacks the archive into the staging folders and its dump into the staging database, and makes it fit this machine. */
export async function stage(
  plan: Plan,
  folders: StagingFolders,
  datastore: Datastore,
  options: StageOptions,
): Promise<{ oid: number; rows: RestoredRows }> {
  const { verified, archive, passphrase } = plan;
  const { signal, detail, onStep } = options;
  for (const folder of [folders.home, folders.workspace]) if (folder !== undefined) mkdirSync(folder, { mode: 0o700 });
  await onStep("folders made");
  const oid = await withServer(datastore.database, (client) => createStagingDatabase(client, STAGING_DATABASE));
  await onStep("database made");

  const database = { ...datastore.database, database: STAGING_DATABASE };
  const total = formatBytes(verified.datastoreBytes);
  const replay = (dump: AsyncIterable<Buffer>) =>
    replayWithPsql(join(datastore.bin, "psql"), database, dump, {
      signal,
      onBytes: (bytes) => detail(`${formatBytes(bytes)} of ${total} of the datastore`),
    });
  const together = folders.workspace !== undefined && sameDevice(folders.home, folders.workspace);
  const entries = () => archiveEntries(archive, verified.manifest, { passphrase, signal });
  const isWorkspace = ({ name }: TarEntry) => name.startsWith("workspace/");
  await extractEntries(
    feeding(entries(), replay, (entry) => together || !isWorkspace(entry)),
    folders.home,
    { signal },
  );
  await onStep("unpacked");
  if (folders.workspace !== undefined) {
    if (!together || !moved(join(folders.home, "workspace"), join(folders.workspace, "workspace"))) {
      await extractEntries(entries(), folders.workspace, { signal, only: (name) => name.startsWith("workspace/") });
    }
  }
  await onStep("workspace unpacked");

  if (verified.has.config) moveConfig(join(folders.home, "config.yaml"), plan.paths, plan.move, plan.workspace);
  const workspace = plan.workspace === undefined ? undefined : realpathSync(plan.workspace);
  if (workspace !== undefined) relinkVersions(join(folders.home, "versions"), workspace);
  detail("checking");
  const rows = await withClient(database, async (client) => {
    refuseOtherSchema(await restoredSchemaVersion(client), verified.manifest);
    if (workspace !== undefined) await moveDagFiles(client, workspace);
    // The planner knows nothing of a database that was just filled.
    await client.query("analyze");
    return countRestoredRows(client);
  });
  await onStep("checked");
  return { oid, rows };
}

/** What will be exchanged. Copies what is replaced; touches nothing else of the installation. */
export async function planExchange(plan: Plan, folders: StagingFolders): Promise<Place[]> {
  const { paths, verified } = plan;
  const fresh = (name: string) => join(folders.home, name);
  const aside = join(folders.home, "before");
  mkdirSync(aside, { mode: 0o700 });
  const files = [verified.has.config && paths.config, verified.has.setup && paths.setup]
    .filter((target) => target !== false)
    .map((target): Replacement => {
      const name = target === paths.config ? "config.yaml" : "setup.json";
      chmodSync(fresh(name), 0o600);
      return { fresh: fresh(name), target, aside: isThere(target) ? join(aside, name) : null };
    });
  files.forEach(keepAside);
  const moves = [];
  if (verified.has.versions) {
    if (isThere(paths.versions)) moves.push({ from: paths.versions, to: join(aside, "versions") });
    moves.push({ from: fresh("versions"), to: paths.versions });
  }
  const places: Place[] = [{ staging: folders.home, moves, files }];
  if (plan.workspace !== undefined && folders.workspace !== undefined) {
    const outgoing = join(folders.workspace, "before");
    mkdirSync(outgoing, { mode: 0o700 });
    const contentMoves = await exchangeContent(realpathSync(plan.workspace), {
      staging: folders.workspace,
      fresh: join(folders.workspace, "workspace"),
      aside: outgoing,
      archive: plan.archive,
    });
    places.push({ staging: folders.workspace, moves: contentMoves, files: [] });
  }
  for (const folder of [aside, folders.home, folders.workspace]) if (folder !== undefined) syncFolder(folder);
  return places;
}

/** Takes the dump out of the row of entries and lets the others by. */
async function* feeding(
  entries: AsyncIterable<TarEntry>,
  replay: (dump: AsyncIterable<Buffer>) => Promise<void>,
  wanted: (entry: TarEntry) => boolean,
): AsyncGenerator<TarEntry> {
  for await (const entry of entries) {
    if (entry.name === "datastore.sql") await replay(entry.content());
    else if (wanted(entry)) yield entry;
  }
}

function sameDevice(one: string, other: string): boolean {
  return statSync(one).dev === statSync(other).dev;
}

/** Renames a folder; false where that does not lead from one place to the other (bind mounts). */
function moved(from: string, to: string): boolean {
  if (!existsSync(from)) return false;
  const { mode, atimeMs, mtimeMs } = lstatSync(from);
  try {
    chmodSync(from, 0o700);
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EXDEV") return false;
    throw error;
  }
  chmodSync(to, mode & 0o7777);
  utimesSync(to, atimeMs / 1000, mtimeMs / 1000);
  return true;
}
