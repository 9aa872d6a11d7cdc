import {
  constants,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { formatBytes } from "../../kit/bytes.ts";
import type { Logger } from "../../kit/service.ts";
import { UserError } from "../../kit/user-error.ts";
import { commandError, runCommand } from "../command.ts";
import type { Progress } from "../progress.ts";
import { runTied } from "../tied-command.ts";
import { freeBytesOf } from "../upgrade/free-bytes.ts";
import { carrySettingsOver } from "./carry-settings.ts";
import { swapIn, writeNote } from "./cluster-swap.ts";
import { copyByDump } from "./dump-upgrade.ts";
import { startGuardian } from "./guardian.ts";
import { chooseIdentity, type Identity } from "./identity.ts";
import { initCluster, POSTGRES_ENVIRONMENT, POSTGRES_USER } from "./init-cluster.ts";
import { leoflowConf } from "./settings.ts";
import { chooseSocketDir, makeSocketDir } from "./socket-dir.ts";
import { recoverStaleServer } from "./stale-server.ts";
import { withServer } from "./passing-server.ts";

export interface MajorUpgradeOptions {
  logger: Logger;
  progress: Progress;
  /** Holds data/ and the password. */
  folder: string;
  oldMajor: string;
  oldBin: string;
  newMajor: string;
  newBin: string;
  runtimeDir?: string | undefined;
  identity?: Identity;
  signal?: AbortSignal | undefined;
  /** Tests switch fsync off, and leave pg_upgrade out to see the other way. */
  sync?: boolean;
  ways?: readonly ("pg_upgrade" | "dump")[];
  /** Called before each step; tests end us there. */
  onStep?: (step: MajorUpgradeStep) => void;
}

export type MajorUpgradeStep = "initdb" | "check" | "pg_upgrade" | "dump" | "settings" | "note" | "swap" | "swapped";

/** Free disk beside a copy of the data: a new cluster's own files and its journal. */
const RESERVE = 250 * 1024 * 1024;

/**
 * Brings the data of an older PostgreSQL to this release's: pg_upgrade into a cluster beside, which its own check must allow;
 * else dump and load, which is slower but takes any cluster that starts. The old cluster is not changed, only moved aside in the
 * end. The caller holds the home's lock and has called finishSwap.
 */
export async function upgradeCluster(options: MajorUpgradeOptions): Promise<{ way: "pg_upgrade" | "dump" }> {
  const { progress, oldMajor, newMajor } = options;
  return progress.step(`Upgrade PostgreSQL ${oldMajor} to ${newMajor}`, async (detail) =>
    new MajorUpgrade(options, await preparation(options), detail).run(),
  );
}

interface Preparation {
  identity: Identity;
  socketDir: string;
  password: string;
  /** The new cluster: a name of its own for each attempt, so that whatever is left of an earlier one cannot write into it. */
  fresh: string;
  clones: boolean;
}

async function preparation(options: MajorUpgradeOptions): Promise<Preparation> {
  const { folder, runtimeDir } = options;
  const data = join(folder, "data");
  const identity = options.identity ?? (await chooseIdentity({ folder, dataDir: data }));
  const clones = canClone(folder);
  checkRoom(options, clones);
  await recoverStaleServer(data);
  const socketDir = chooseSocketDir(folder, runtimeDir);
  makeSocketDir(socketDir, [process.getuid?.() ?? 0, identity.uid]);
  identity.give(socketDir);
  const password = readFileSync(join(folder, "password"), "utf8").trim();
  return { identity, socketDir, password, fresh: `${data}.upgrade-${process.pid}-${Date.now()}`, clones };
}

class MajorUpgrade {
  readonly #options: MajorUpgradeOptions;
  readonly #prepared: Preparation;
  readonly #detail: (text: string) => void;
  readonly #data: string;

  constructor(options: MajorUpgradeOptions, prepared: Preparation, detail: (text: string) => void) {
    this.#options = options;
    this.#prepared = prepared;
    this.#detail = detail;
    this.#data = join(options.folder, "data");
  }

  async run(): Promise<{ way: "pg_upgrade" | "dump" }> {
    const { folder, oldMajor, ways = ["pg_upgrade", "dump"] } = this.#options;
    const { fresh } = this.#prepared;
    // Whatever of ours runs is ended with us.
    const guardians = [startGuardian(this.#data), startGuardian(fresh)];
    try {
      await this.#shutDownCleanly();
      let way: "pg_upgrade" | "dump" = "pg_upgrade";
      const failure = ways.includes("pg_upgrade") ? await this.#pgUpgrade() : "it was left out";
      if (failure !== undefined) {
        this.#options.logger.warn({ output: failure }, "pg_upgrade does not take this cluster; dumping and loading it");
        way = "dump";
        await this.#dumpAndLoad();
      }
      this.#step("settings");
      await carrySettingsOver({ ...this.#prepared, ...this.#options, data: this.#data });
      this.#step("note");
      writeNote(fresh, { from: oldMajor });
      this.#step("swap");
      swapIn(folder, fresh, oldMajor);
      this.#step("swapped");
      return { way };
    } catch (error) {
      await Promise.all([recoverStaleServer(this.#data), recoverStaleServer(fresh)]).catch(() => undefined);
      rmSync(fresh, { recursive: true, force: true, maxRetries: 3 });
      throw this.#options.signal?.aborted ? error : this.#failure(error);
    } finally {
      for (const guardian of guardians) guardian.dismiss();
    }
  }

  #step(step: MajorUpgradeStep): void {
    this.#options.signal?.throwIfAborted();
    this.#detail({ pg_upgrade: "copying", dump: "dumping and loading" }[step as string] ?? step);
    this.#options.onStep?.(step);
  }

  /** pg_upgrade takes no cluster that would need recovery: one of a Leoflow that was killed is started and stopped first. */
  async #shutDownCleanly(): Promise<void> {
    const { oldBin } = this.#options;
    if (/state:\s+shut down\n/.test(await this.#controlData())) return;
    await this.#withOldServer(async () => undefined);
    if (/state:\s+shut down\n/.test(await this.#controlData())) return;
    throw new Error(`${join(oldBin, "postgres")} did not shut its data down cleanly`);
  }

  async #controlData(): Promise<string> {
    const { identity } = this.#prepared;
    const command = identity.wrap([join(this.#options.oldBin, "pg_controldata"), this.#data]);
    const result = await runCommand(command, { env: POSTGRES_ENVIRONMENT, cwd: this.#options.folder });
    if (result.code !== 0) throw commandError({ doing: "read the old cluster's state" }, result);
    return result.stdout;
  }

  async #initialize(): Promise<void> {
    this.#step("initdb");
    const { newBin, folder, sync = true, signal } = this.#options;
    const { identity, password, fresh, socketDir } = this.#prepared;
    const checksums = !/checksum version:\s+0\n/.test(await this.#controlData());
    await initCluster({ bin: newBin, folder, target: fresh, identity, password, sync, checksums, signal });
    const conf = join(fresh, "leoflow.conf");
    writeFileSync(conf, leoflowConf(socketDir), { mode: 0o600 });
    identity.give(conf);
  }

  /** Returns why it does not work, or undefined when it is done. */
  async #pgUpgrade(): Promise<string | undefined> {
    const { folder, oldBin, newBin, sync = true, signal } = this.#options;
    const { identity, socketDir, password, fresh, clones } = this.#prepared;
    await this.#initialize();
    const work = join(folder, "upgrade-work");
    rmSync(work, { recursive: true, force: true });
    mkdirSync(work, { mode: 0o700 });
    identity.give(work);
    const command = [
      ...[join(newBin, "pg_upgrade"), "-U", POSTGRES_USER, "-b", oldBin, "-B", newBin, "-d", this.#data, "-D", fresh],
      ...["-s", socketDir, clones ? "--clone" : "--copy", ...(sync ? [] : ["--no-sync"])],
    ];
    const env = { ...POSTGRES_ENVIRONMENT, PGPASSWORD: password };
    try {
      for (const [step, more] of [
        ["check", ["--check"]],
        ["pg_upgrade", []],
      ] as const) {
        this.#step(step);
        const result = await runTied(identity.wrap([...command, ...more]), { env, cwd: work, signal });
        this.#options.logger.info({ step, code: result.code, output: result.output }, "pg_upgrade");
        if (result.code !== 0) return result.output;
      }
      return undefined;
    } finally {
      rmSync(work, { recursive: true, force: true, maxRetries: 3 });
    }
  }

  async #dumpAndLoad(): Promise<void> {
    const { newBin, signal } = this.#options;
    await Promise.all([recoverStaleServer(this.#data), recoverStaleServer(this.#prepared.fresh)]);
    await this.#initialize();
    this.#step("dump");
    const port = (number: number) => ({ PGHOST: this.#prepared.socketDir, PGPORT: String(number) });
    const environment = { ...POSTGRES_ENVIRONMENT, PGUSER: POSTGRES_USER, PGPASSWORD: this.#prepared.password };
    await this.#withOldServer(() =>
      this.#withNewServer(() =>
        copyByDump({
          bin: newBin,
          from: { ...environment, ...port(OLD_PORT) },
          to: { ...environment, ...port(NEW_PORT) },
          signal,
        }),
      ),
    );
  }

  #withOldServer<T>(work: () => Promise<T>): Promise<T> {
    const { oldBin: bin, folder, signal } = this.#options;
    return withServer({ ...this.#prepared, bin, folder, data: this.#data, port: OLD_PORT, signal }, work);
  }

  #withNewServer<T>(work: () => Promise<T>): Promise<T> {
    const { newBin: bin, folder, signal } = this.#options;
    return withServer({ ...this.#prepared, bin, folder, data: this.#prepared.fresh, port: NEW_PORT, signal }, work);
  }

  #failure(error: unknown): UserError {
    const { oldMajor, newMajor, folder } = this.#options;
    const reason = error instanceof Error ? error.message : String(error);
    return new UserError(
      `could not bring the database from PostgreSQL ${oldMajor} to ${newMajor}: ${reason}\nNothing was changed: the data is ${this.#data}, as it was`,
      {
        fix: `go on with the previous release of Leoflow; the log in ${join(folder, "../logs/leoflow.log")} says more`,
        cause: error,
      },
    );
  }
}

const OLD_PORT = 50432;
const NEW_PORT = 50433;

function checkRoom({ folder, oldMajor, newMajor }: MajorUpgradeOptions, clones: boolean): void {
  const data = folderBytes(join(folder, "data"));
  const needed = RESERVE + (clones ? 0 : data);
  const free = freeBytesOf(folder);
  if (free >= needed) return;
  throw new UserError(
    `bringing the database from PostgreSQL ${oldMajor} to ${newMajor} needs ${formatBytes(needed)} of free disk, because the old ` +
      `data (${formatBytes(data)}) is kept beside the new; ${formatBytes(free)} are free where ${folder} is. Nothing was changed`,
    { fix: `free ${formatBytes(needed - free)} and start again` },
  );
}

/** Without the journal, which is not taken over. */
function folderBytes(folder: string): number {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) bytes += entry.name === "pg_wal" ? 0 : folderBytes(path);
    else if (entry.isFile()) bytes += lstatSync(path, { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}

/** Whether the file system copies without copying: APFS, btrfs, XFS. */
function canClone(folder: string): boolean {
  const source = join(folder, "data/PG_VERSION");
  const copy = join(folder, "clone.test");
  try {
    copyFileSync(source, copy, constants.COPYFILE_FICLONE_FORCE);
    return existsSync(copy);
  } catch {
    return false;
  } finally {
    rmSync(copy, { force: true });
  }
}
