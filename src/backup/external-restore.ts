import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { UserError } from "../kit/user-error.ts";
import { archiveEntries, type VerifiedArchive } from "./archive.ts";
import { timestamp } from "./backup-name.ts";
import { extractEntries } from "./extract.ts";
import type { BackupManifest } from "./manifest.ts";
import { openArchive, type ArchiveToRestore } from "./open-archive.ts";
import { replayDump } from "./replay-dump.ts";
import { refuseOtherSchema } from "./schema-refusal.ts";
import {
  countRestoredRows,
  holdsUserRows,
  moveDagFiles,
  restoredSchemaVersion,
  withClient,
  type RestoredRows,
} from "./staging-database.ts";

export interface ExternalRestoreOptions extends ArchiveToRestore {
  /** postgres://user:password@host:port/database */
  databaseUrl: string;
  /** An empty folder for the DAGs; without one they stay in the archive. */
  workspace?: string | undefined;
  /** A new file for the backup's config.yaml, with its keys. */
  configOut?: string | undefined;
  force: boolean;
  dryRun: boolean;
  step: <T>(title: string, work: (detail: (text: string) => void) => Promise<T>) => Promise<T>;
}

export interface ExternalRestoreResult {
  manifest: Omit<BackupManifest, "entries">;
  entries: number;
  restored: boolean;
  /** "db.example.com:5432/leoflow" */
  database: string;
  rows: RestoredRows | undefined;
  workspace: { path: string; files: number } | undefined;
  /** The schema that now holds what was in the database before. */
  replaced: string | undefined;
  /** Keys of the backup's config.yaml that the server must have. */
  secrets: string[];
  configFile: string | undefined;
}

/** What a server reads stored secrets and sessions with. */
const SECRETS = ["fernet_key", "jwt_secret"] as const;

/**
 * Loads a backup of Lite into the PostgreSQL of a server, in one transaction: another's settings, rights and owner of the database
 * stay, no right to make databases is needed, and whatever ends it leaves the database as it was. What was there is kept beside,
 * in a schema of its own.
 */
export async function restoreExternally(options: ExternalRestoreOptions): Promise<ExternalRestoreResult> {
  const { step, dryRun, configOut, workspace } = options;
  const database = shownDatabase(options.databaseUrl);
  const verified = await openArchive(options, step);
  const { manifest } = verified;
  if (configOut !== undefined && existsSync(configOut)) {
    throw new UserError(`${configOut} exists already`, { fix: "name another file with --config-out" });
  }
  if (workspace !== undefined) refuseFilledFolder(workspace, verified);
  const config = await configOf(options, verified);
  if (configOut !== undefined && config === undefined) {
    throw new UserError("the archive has no config.yaml", {
      fix: "run the same command without --config-out",
      exitCode: 2,
    });
  }

  const replaced = await withTarget(options, async (client) => {
    await refuseUsers(client, database);
    if (!options.force && (await holdsUserRows(client, "public"))) {
      throw new UserError(
        `refusing: restore would overwrite the data in ${database}; pass --force to confirm, or name an empty database`,
        { fix: "run the same command with --force: what is there is kept in a schema of its own" },
      );
    }
    if (dryRun) return { schema: undefined, rows: undefined };
    // Another schema stays as it is, but may use what is in this one, and would lose that with it.
    const keep = await holdsUserRows(client);
    return restoreOver(client, options, verified, { keep, config });
  });
  const { entries, ...about } = manifest;
  return {
    manifest: about,
    entries: Object.keys(entries).length,
    restored: !dryRun,
    database,
    rows: replaced.rows,
    workspace: workspace === undefined ? undefined : { path: workspace, files: verified.workspaceFiles },
    replaced: replaced.schema,
    secrets: SECRETS.filter((key) => new RegExp(`^${key}:`, "m").test(config ?? "")),
    configFile: dryRun ? undefined : configOut,
  };
}

async function restoreOver(
  client: pg.Client,
  options: ExternalRestoreOptions,
  verified: VerifiedArchive,
  { keep, config }: { keep: boolean; config: string | undefined },
): Promise<{ schema: string | undefined; rows: RestoredRows }> {
  const { step, say, signal, workspace, configOut } = options;
  const madeWorkspace = workspace !== undefined && !existsSync(workspace);
  const staging =
    workspace === undefined ? undefined : join(workspace, `.leoflow-restore-${randomBytes(4).toString("hex")}`);
  const made: (Buffer | string)[] = [];
  // A long statement ends with its connection.
  const cut = () => (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  signal?.addEventListener("abort", cut);
  try {
    await client.query("begin");
    const schema = await clearPublic(client, keep);
    if (workspace !== undefined && staging !== undefined) {
      mkdirSync(workspace, { recursive: true });
      if (madeWorkspace) made.push(workspace);
      mkdirSync(staging, { mode: 0o700 });
      await step("Unpack the workspace", () =>
        extractEntries(entriesOf(options, verified), staging, {
          signal,
          only: (name) => name.startsWith("workspace/"),
        }),
      );
    }
    say("▸ replaying datastore …");
    await step("Restore the datastore", async (detail) => {
      for await (const entry of entriesOf(options, verified)) {
        if (entry.name !== "datastore.sql") continue;
        await replayDump(client, entry.content(), {
          signal,
          onBytes: (bytes) => detail(`${Math.floor((100 * bytes) / Math.max(1, verified.datastoreBytes))} %`),
        });
        return;
      }
    });
    // The dump has emptied the search path.
    await client.query("set search_path to public");
    refuseOtherSchema(await restoredSchemaVersion(client), verified.manifest);
    if (workspace !== undefined) await moveDagFiles(client, realpathSync(workspace));
    const rows = await countRestoredRows(client);
    if (workspace !== undefined && staging !== undefined) {
      for (const name of readdirSync(join(staging, "workspace"), { encoding: "buffer" })) {
        const to = Buffer.concat([Buffer.from(`${workspace}/`), name]);
        renameSync(Buffer.concat([Buffer.from(`${staging}/workspace/`), name]), to);
        made.push(to);
      }
      if (madeWorkspace) chmodSync(workspace, statSync(join(staging, "workspace")).mode & 0o777);
    }
    if (configOut !== undefined && config !== undefined) {
      writeConfig(configOut, config);
      made.push(configOut);
    }
    signal?.throwIfAborted();
    await client.query("commit");
    await client.query("analyze").catch(() => undefined);
    return { schema, rows };
  } catch (error) {
    for (const path of made) rmSync(path, { recursive: true, force: true });
    await client.query("rollback").catch(() => undefined);
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", cut);
    if (staging !== undefined) rmSync(staging, { recursive: true, force: true });
  }
}

function entriesOf({ archive, passphrase, signal }: ExternalRestoreOptions, { manifest }: VerifiedArchive) {
  return archiveEntries(archive, manifest, { passphrase, signal });
}

function writeConfig(file: string, text: string): void {
  try {
    writeFileSync(file, text, { mode: 0o600, flag: "wx", flush: true });
  } catch (error) {
    throw new UserError(`cannot write ${file}: ${(error as Error).message}; nothing was changed`, {
      fix: "name another file with --config-out",
      cause: error,
    });
  }
}

async function configOf(options: ExternalRestoreOptions, verified: VerifiedArchive): Promise<string | undefined> {
  if (!verified.has.config) return undefined;
  for await (const entry of entriesOf(options, verified)) {
    if (entry.name !== "config.yaml") continue;
    const chunks: Buffer[] = [];
    for await (const chunk of entry.content()) chunks.push(chunk);
    return Buffer.concat(chunks).toString("utf8");
  }
  return undefined;
}

function refuseFilledFolder(workspace: string, { has }: VerifiedArchive): void {
  if (!has.workspace) {
    throw new UserError("the archive has no workspace", {
      fix: "run the same command without --workspace",
      exitCode: 2,
    });
  }
  if (existsSync(workspace) && readdirSync(workspace).length > 0) {
    throw new UserError(`refusing: ${workspace} is not empty`, { fix: "name a new or empty folder with --workspace" });
  }
}

async function withTarget<T>(
  { databaseUrl }: ExternalRestoreOptions,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  let connected = false;
  try {
    return await withClient({ connectionString: databaseUrl }, (client) => {
      connected = true;
      return work(client);
    });
  } catch (error) {
    if (connected) throw error;
    throw new UserError(`cannot reach the database ${shownDatabase(databaseUrl)}: ${(error as Error).message}`, {
      fix: "look at --database-url or LEOFLOW_DATABASE_URL; the database itself must exist (`create database leoflow`)",
      cause: error,
    });
  }
}

/** Without the password. */
function shownDatabase(url: string): string {
  try {
    const { host, port, database = "" } = new pg.Client({ connectionString: url });
    return `${host}:${port}/${database}`;
  } catch (error) {
    throw new UserError("the database URL cannot be read", {
      fix: "write it as postgres://user:password@host:5432/database",
      exitCode: 2,
      cause: error,
    });
  }
}

/** PostgreSQL takes a moment to end a connection whose client has left. */
const LEAVING_MS = 2_000;
const LOOK_MS = 50;

/** A server that works on the database would write into what is being replaced. */
async function refuseUsers(client: pg.Client, database: string): Promise<void> {
  const until = performance.now() + LEAVING_MS;
  let others: number;
  for (;;) {
    // A transaction sees the same activity as long as it lasts.
    await client.query("select pg_stat_clear_snapshot()");
    const { rows } = await client.query<{ others: string }>(
      `select count(*) as others from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid() and usename is not null`,
    );
    others = Number(rows[0]?.others);
    if (others === 0) return;
    if (performance.now() > until) break;
    await sleep(LOOK_MS);
  }
  throw new UserError(`${database} is in use by ${others} other connection${others === 1 ? "" : "s"}`, {
    fix: "stop the servers that use it and run the same command again",
  });
}

const NO_RIGHT = "42501";

/**
 * Makes room in the schema `public`, inside the transaction. Returns the schema that now holds what was there, where that is
 * to be kept.
 */
async function clearPublic(client: pg.Client, keep: boolean): Promise<string | undefined> {
  const { rows } = await client.query<{ filled: boolean }>(
    "select exists (select from pg_class where relnamespace = to_regnamespace('public')) as filled",
  );
  if (!rows[0]?.filled) return undefined;
  const extensions = await client.query<{ name: string }>(
    "select extname as name from pg_extension where extnamespace = to_regnamespace('public')",
  );
  const aside = `before_restore_${timestamp(new Date()).toLowerCase().replace(/\W/g, "_")}`;
  try {
    await client.query(`alter schema public rename to ${aside}`);
    await client.query("create schema public");
    await client.query("comment on schema public is 'standard public schema'");
    await client.query("grant usage on schema public to public");
    for (const { name } of extensions.rows) {
      await client.query(`alter extension ${pg.escapeIdentifier(name)} set schema public`);
    }
    if (!keep) await client.query(`drop schema ${aside} cascade`);
  } catch (error) {
    if ((error as { code?: string }).code !== NO_RIGHT) throw error;
    throw new UserError(`the user may not replace the schema public: ${(error as Error).message}`, {
      fix: "let the database's administrator run `alter schema public owner to <user>; grant create on database <database> to <user>`",
      cause: error,
    });
  }
  return keep ? aside : undefined;
}
