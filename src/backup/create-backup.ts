import { existsSync, rmSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { formatBytes } from "../kit/bytes.ts";
import { UserError } from "../kit/user-error.ts";
import { programVersion } from "../kit/version.ts";
import type { DatabaseConfig } from "../store/database.ts";
import { ArchiveOutput } from "./archive-output.ts";
import { ArchiveWriter } from "./archive-writer.ts";
import { isBackupName } from "./backup-name.ts";
import { withSnapshot } from "./datastore-facts.ts";
import { checkBackupSpace } from "./disk-space.ts";
import { encryptFile } from "./encryption.ts";
import { shownName } from "../kit/tar/entry-name.ts";
import type { TreeNode } from "./file-tree.ts";
import { isUnfinished, removeLeftBehind, unfinishedPath } from "./left-behind.ts";
import { MANIFEST_VERSION, type BackupManifest } from "./manifest.ts";
import { checkOutput, moveIntoPlace, outputError } from "./output-file.ts";
import { pgDump } from "./pg-dump.ts";
import { addTree, surveyTree, type TreeReport, type TreeSource } from "./tree-entries.ts";

export interface BackupOptions {
  /** Where the archive goes. */
  file: string;
  /** Where a file of this name may be replaced. */
  overwrite?: boolean | undefined;
  datastore: { database: DatabaseConfig; bin: string };
  /** Paths; what is undefined is not in the archive. */
  config: string | undefined;
  setup: string | undefined;
  workspace: string | undefined;
  /** Name the workspace in the manifest and leave its files out. */
  withoutWorkspaceFiles?: boolean | undefined;
  versions: string | undefined;
  home: string;
  /** Encrypts. */
  passphrase?: string | undefined;
  /** Leave out, with a warning, what cannot be read; else that is an error. */
  skipUnreadable?: boolean | undefined;
  onPhase?: ((phase: "datastore" | "files" | "encryption") => void) | undefined;
  /** How far it is: "12 MB of the datastore". */
  progress: (text: string) => void;
  signal?: AbortSignal | undefined;
}

export interface BackupResult {
  manifest: BackupManifest;
  /** Of the archive. */
  bytes: number;
  /** What is not, or not as usual, in the archive. */
  warnings: string[];
}

/**
 * Writes a whole installation into one archive: the database as of one moment, while others may go on using it, and the files.
 * The archive appears under its name when it is complete and on the disk; until then, and where this throws, there is none.
 */
export async function createBackup(options: BackupOptions): Promise<BackupResult> {
  const file = resolve(options.file);
  const folder = dirname(file);
  checkOutput(file, options.overwrite ?? false);
  removeLeftBehind(folder);
  removeLeftBehind(options.home);
  const partial = unfinishedPath(folder);
  // What is not encrypted yet stays where the same data is anyway, and never on the disk that the archive is made for.
  const plain = options.passphrase === undefined ? partial : unfinishedPath(options.home);
  try {
    const result = await writeArchive(options, file, plain);
    if (options.passphrase !== undefined) {
      options.onPhase?.("encryption");
      result.bytes = await encryptFile(plain, partial, options.passphrase, {
        signal: options.signal,
        onBytes: (bytes) => options.progress(`${formatBytes(bytes)} of ${formatBytes(result.bytes)} encrypted`),
      });
    }
    options.signal?.throwIfAborted();
    await moveIntoPlace(partial, file, options.overwrite ?? false);
    return result;
  } catch (error) {
    options.signal?.throwIfAborted();
    throw outputError(error, folder);
  } finally {
    rmSync(partial, { force: true });
    rmSync(plain, { force: true });
  }
}

async function writeArchive(options: BackupOptions, file: string, path: string): Promise<BackupResult> {
  const { home, workspace, signal, progress } = options;
  const warnings: string[] = [];
  const sources = treeSources(options, file, warnings);
  const surveys = await Promise.all(sources.map((source) => surveyTree(source, signal)));
  const unreadable = surveys.flatMap((survey) => survey.unreadable);
  if (unreadable.length > 0 && !options.skipUnreadable) throw unreadableError(unreadable);
  const treeBytes = surveys.reduce((sum, { bytes }) => sum + bytes, 0);
  const createdAt = Math.floor(Date.now() / 1000);
  const mtimeUs = createdAt * 1e6;
  const plainFacts = { mode: 0o600, mtimeUs };

  const output = await ArchiveOutput.create(path);
  try {
    const writer = new ArchiveWriter(output);
    for (const [name, source] of [
      ["config.yaml", options.config],
      ["setup.json", options.setup],
    ] as const) {
      if (source !== undefined) await writer.file({ name, ...plainFacts }, await readSettings(source));
    }
    const facts = await withSnapshot(options.datastore.database, async (facts) => {
      for (const folder of new Set([dirname(path), dirname(file)])) checkBackupSpace(folder, facts.bytes + treeBytes);
      options.onPhase?.("datastore");
      const dump = pgDump(options.datastore.bin, options.datastore.database, { snapshot: facts.snapshot, signal });
      const counted = counting(dump, (bytes) => progress(`${formatBytes(bytes)} of the datastore`));
      await writer.endlessFile({ name: "datastore.sql", ...plainFacts }, counted);
      return facts;
    });
    options.onPhase?.("files");
    let done = 0;
    const report: TreeReport = {
      signal,
      onWarning: (text) => warnings.push(text),
      onUnreadable: (name, error) => {
        if (!options.skipUnreadable) throw unreadableError([name], error);
        warnings.push(`${name} cannot be read and is not in the backup`);
      },
      onBytes: (bytes) => {
        done += bytes;
        progress(`${formatBytes(done)} of ${formatBytes(Math.max(done, treeBytes))} of files`);
      },
    };
    for (const source of sources) await addTree(writer, source, report);
    const about: Omit<BackupManifest, "entries"> = {
      manifest_version: MANIFEST_VERSION,
      leoflow_version: programVersion,
      schema_version: facts.schemaVersion,
      postgres_version: facts.postgresVersion,
      created_at: `${new Date(createdAt * 1000).toISOString().slice(0, 19)}Z`,
      home,
      ...(workspace === undefined ? {} : { workspace }),
    };
    return { ...(await writer.finish(about, mtimeUs)), warnings };
  } finally {
    await output.close();
  }
}

/** Of workspace and versions, those that are asked for and there. */
function treeSources(options: BackupOptions, archive: string, warnings: string[]): TreeSource[] {
  const { home, workspace, versions } = options;
  const own = [archive, home].map((path) => statSync(path, { bigint: true, throwIfNoEntry: false }));
  const noted = new Set<string>();
  const skip = ({ name, stats }: TreeNode) => {
    const last = basename(name);
    if (isUnfinished(last) || own.some((each) => each?.ino === stats.ino && each.dev === stats.dev)) return true;
    if (!stats.isFile() || !isBackupName(last)) return false;
    // Else each backup would hold all earlier ones.
    if (!noted.has(name))
      warnings.push(`${shownName(name)} in the workspace is a backup itself and is not in this one`);
    noted.add(name);
    return true;
  };
  const sources: TreeSource[] = [];
  if (workspace !== undefined && !options.withoutWorkspaceFiles) {
    checkWorkspaceFolder(workspace);
    sources.push({ folder: workspace, as: "workspace", exclude: true, skip });
  }
  if (versions !== undefined && existsSync(versions)) {
    sources.push({ folder: versions, as: "versions", exclude: false, skip: () => false });
  }
  return sources;
}

function checkWorkspaceFolder(workspace: string): void {
  let problem = "it is not a folder";
  try {
    if (statSync(workspace).isDirectory()) return;
  } catch (error) {
    problem = (error as NodeJS.ErrnoException).code === "ENOENT" ? "it does not exist" : (error as Error).message;
  }
  throw new UserError(`cannot read the workspace ${workspace}: ${problem}`, {
    fix: "name another with `--workspace DIR`, or back up without it: `leoflow lite backup --no-workspace`",
  });
}

async function readSettings(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new UserError(`could not read ${path}`, {
      fix: "make it readable for you and run the same command again",
      cause: error,
    });
  }
}

function unreadableError(paths: readonly string[], cause?: unknown): UserError {
  const shown = paths.slice(0, 10).map((path) => `\n    ${path}`);
  const more = paths.length > shown.length ? `\n    and ${paths.length - shown.length} more` : "";
  return new UserError(`cannot read ${paths.length === 1 ? paths[0] : `these:${shown.join("")}${more}`}`, {
    fix: "make it readable for you, or leave such files out with `--skip-unreadable`",
    cause,
  });
}

async function* counting(chunks: AsyncIterable<Buffer>, onBytes: (bytes: number) => void): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    onBytes(bytes);
    yield chunk;
  }
}
