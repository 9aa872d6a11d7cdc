import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { childEnvironment } from "../../kit/config.ts";
import type { Logger } from "../../kit/service.ts";
import { UserError } from "../../kit/user-error.ts";
import { ensureDatabaseExists } from "../../store/create-database.ts";
import type { DatabaseConfig } from "../../store/database.ts";
import { isDiskFull } from "../command.ts";
import { lastLines, rotateLog } from "../log-file.ts";
import { startGuardian, type Guardian } from "./guardian.ts";
import { chooseIdentity, type Identity } from "./identity.ts";
import { initCluster, POSTGRES_ENVIRONMENT, POSTGRES_USER } from "./init-cluster.ts";
import { leoflowConf } from "./settings.ts";
import { chooseSocketDir, makeSocketDir } from "./socket-dir.ts";
import { pause, readPostmasterFile, recoverStaleServer } from "./stale-server.ts";

const START_TIMEOUT_MS = 10 * 60_000;
const FAST_STOP_MS = 4_000;
const ROTATE_EVERY_MS = 60_000;
/** A server that fell down is put up again, unless it falls this often within a minute. */
const RESTARTS_PER_MINUTE = 3;

export interface ManagedPostgresOptions {
  logger: Logger;
  /** Where `postgres` and `initdb` are; see ensurePostgres. */
  bin: string;
  /** Holds data/, password, postgres.log and the socket. */
  folder: string;
  runtimeDir?: string | undefined;
  database?: string;
  /** Over leoflow.conf; tests switch fsync off. */
  settings?: Record<string, string>;
  identity?: Identity;
  /** Runs a cluster of another release for a look at it: none of its settings are written anew. */
  asItIs?: boolean;
  /** Calls a start off. */
  signal?: AbortSignal;
  /** It fell down and could not be put up again. */
  onFailure?: (error: UserError) => void;
}

type Phase =
  | { name: "stopped" }
  | { name: "running"; child: ChildProcess; exited: Promise<void>; guardian: Guardian; rotation: NodeJS.Timeout }
  | { name: "stopping" };

/** How to reach the server of `folder`, which serves in `socketDir`. */
export function databaseOf(folder: string, socketDir: string, database = "leoflow"): DatabaseConfig {
  const password = readFileSync(join(folder, "password"), "utf8").trim();
  return { host: socketDir, port: 5432, user: POSTGRES_USER, password, database };
}

/** Lite's own PostgreSQL: made on the first start, ended with Leoflow however Leoflow ends. */
export class ManagedPostgres {
  readonly #options: ManagedPostgresOptions;
  readonly #dataDir: string;
  readonly #logFile: string;
  #phase: Phase = { name: "stopped" };
  #falls: number[] = [];
  #wanted = false;

  constructor(options: ManagedPostgresOptions) {
    this.#options = options;
    this.#dataDir = join(options.folder, "data");
    this.#logFile = join(options.folder, "postgres.log");
  }

  /** Whether the next start makes a new cluster. */
  get isNew(): boolean {
    return !existsSync(join(this.#dataDir, "PG_VERSION"));
  }

  async start(): Promise<DatabaseConfig> {
    this.#wanted = true;
    const { folder, runtimeDir } = this.#options;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const identity = this.#options.identity ?? (await chooseIdentity({ folder, dataDir: this.#dataDir }));
    this.#password();
    if (this.isNew) await this.#initialize(identity);
    await recoverStaleServer(this.#dataDir);
    const socketDir = chooseSocketDir(folder, runtimeDir);
    makeSocketDir(socketDir, [process.getuid?.() ?? 0, identity.uid]);
    identity.give(socketDir);
    if (!this.#options.asItIs) {
      const conf = join(this.#dataDir, "leoflow.conf");
      writeFileSync(conf, leoflowConf(socketDir, this.#options.settings), { mode: 0o600 });
      identity.give(conf);
    }
    await this.#launch(identity, socketDir);
    const config = databaseOf(folder, socketDir, this.#options.database);
    try {
      await ensureDatabaseExists(config);
    } catch (error) {
      await this.stop();
      throw error;
    }
    return config;
  }

  /** Fast shutdown: open transactions are rolled back, the next start needs no recovery. Within five seconds. */
  async stop(): Promise<void> {
    this.#wanted = false;
    const phase = this.#phase;
    if (phase.name !== "running") return;
    this.#phase = { name: "stopping" };
    clearInterval(phase.rotation);
    phase.child.kill("SIGINT");
    const harder = setTimeout(() => phase.child.kill("SIGQUIT"), FAST_STOP_MS);
    const hardest = setTimeout(() => phase.child.kill("SIGKILL"), FAST_STOP_MS + 500);
    await phase.exited;
    clearTimeout(harder);
    clearTimeout(hardest);
    phase.guardian.dismiss();
    this.#phase = { name: "stopped" };
  }

  /** Scram, though only this user can reach the socket: peer sees another user than ours where root is mapped. */
  #password(): string {
    const file = join(this.#options.folder, "password");
    if (!existsSync(file)) {
      writeFileSync(`${file}.new`, `${randomBytes(24).toString("base64url")}\n`, { mode: 0o600 });
      renameSync(`${file}.new`, file);
    }
    return readFileSync(file, "utf8").trim();
  }

  /** Made beside and moved into place, so that a first start cut short begins again. */
  async #initialize(identity: Identity): Promise<void> {
    const { bin, folder, signal, settings } = this.#options;
    const target = `${this.#dataDir}.new`;
    const sync = settings?.["fsync"] !== "off";
    await initCluster({ bin, folder, target, identity, password: this.#password(), sync, signal });
    renameSync(target, this.#dataDir);
  }

  async #launch(identity: Identity, socketDir: string): Promise<void> {
    rotateLog(this.#logFile);
    const log = openSync(this.#logFile, "a", 0o600);
    chmodSync(this.#logFile, 0o600);
    const logStart = statSync(this.#logFile).size;
    const guardian = startGuardian(this.#dataDir);
    const [program, ...args] = identity.wrap([
      ...[join(this.#options.bin, "postgres"), "-D", this.#dataDir],
      ...(this.#options.asItIs ? ["-k", socketDir] : []),
    ]);
    // Its own session: a Ctrl-C at the terminal must reach Leoflow alone, which stops its parts in order.
    const child = spawn(program as string, args, {
      stdio: ["ignore", log, log],
      detached: true,
      cwd: this.#options.folder,
      env: childEnvironment(POSTGRES_ENVIRONMENT),
    });
    closeSync(log);
    const end: { text?: string } = {};
    const exited = new Promise<void>((done) => {
      child.once("error", (error) => {
        end.text = error.message;
        done();
      });
      child.once("exit", (code, signal) => {
        end.text = signal ? `ended by ${signal}` : `exit code ${code}`;
        done();
      });
    });
    const rotation = setInterval(() => rotateLog(this.#logFile), ROTATE_EVERY_MS);
    rotation.unref();
    this.#phase = { name: "running", child, exited, guardian, rotation };

    const deadline = Date.now() + START_TIMEOUT_MS;
    for (;;) {
      const file = readPostmasterFile(this.#dataDir);
      if (end.text === undefined && file?.pid === child.pid && file?.status === "ready") break;
      if (end.text !== undefined || Date.now() > deadline) {
        const reason = end.text ?? "it does not become ready";
        await this.stop();
        throw this.#failure("PostgreSQL did not start", reason, logStart);
      }
      if (this.#options.signal?.aborted) {
        await this.stop();
        throw this.#options.signal.reason;
      }
      await Promise.race([exited, pause(10)]);
    }
    void exited.then(() => this.#onExit(() => this.#launch(identity, socketDir), end.text ?? "", logStart));
  }

  #onExit(relaunch: () => Promise<void>, reason: string, logStart: number): void {
    const phase = this.#phase;
    if (phase.name !== "running") return;
    clearInterval(phase.rotation);
    phase.guardian.dismiss();
    this.#phase = { name: "stopped" };
    const now = Date.now();
    this.#falls = [...this.#falls.filter((at) => at > now - 60_000), now];
    const error = this.#failure("PostgreSQL stopped unexpectedly", reason, logStart);
    if (this.#falls.length > RESTARTS_PER_MINUTE) {
      this.#options.onFailure?.(error);
      return;
    }
    this.#options.logger.error({ err: error }, "PostgreSQL stopped unexpectedly; starting it again");
    recoverStaleServer(this.#dataDir)
      .then(async () => {
        if (this.#wanted) await relaunch();
      })
      .catch((failure: unknown) => {
        this.#options.onFailure?.(failure instanceof UserError ? failure : error);
      });
  }

  #failure(what: string, reason: string, logStart: number): UserError {
    const lines = lastLines(this.#logFile, 12, logStart);
    const full = isDiskFull(lines.join("\n"));
    return new UserError(
      `${what} (${full ? "the disk is full" : reason}). Its last log lines:\n${lines.map((line) => `  ${line}`).join("\n")}`,
      {
        fix: full
          ? `free some space where ${this.#options.folder} is and start again`
          : `look into ${this.#logFile}; your own settings are in ${join(this.#dataDir, "postgresql.conf")}`,
      },
    );
  }
}
