import { existsSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { UserError } from "../../kit/user-error.ts";
import { runCommand } from "../command.ts";

/** What postmaster.pid says: PostgreSQL writes it, one value a line. */
export interface PostmasterFile {
  pid: number;
  socketDir: string;
  sharedMemoryId: number | undefined;
  /** "starting", "ready", "stopping", "standby" */
  status: string;
}

export function readPostmasterFile(dataDir: string): PostmasterFile | undefined {
  let lines: string[];
  try {
    lines = readFileSync(join(dataDir, "postmaster.pid"), "utf8").split("\n");
  } catch {
    return undefined;
  }
  const pid = Number(lines[0]);
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  const memory = Number(lines[6]?.trim().split(/\s+/)[1]);
  return {
    pid,
    socketDir: lines[4]?.trim() ?? "",
    sharedMemoryId: Number.isInteger(memory) ? memory : undefined,
    status: lines[7]?.trim() ?? "starting",
  };
}

/**
 * Clears what a Leoflow left that was killed: a PostgreSQL still running is stopped in order, a postmaster.pid whose number
 * went to another program (usual after a container's restart) is removed. The caller holds the home's lock, so no living
 * Leoflow uses this server.
 */
export async function recoverStaleServer(dataDir: string, waitMs = 20_000): Promise<"none" | "stopped" | "removed"> {
  const left = readPostmasterFile(dataDir);
  if (!left) return "none";
  if (await isPostgres(left.pid)) {
    const deadline = Date.now() + waitMs;
    for (const signal of ["SIGINT", "SIGQUIT"] as const) {
      signalIfAlive(left.pid, signal);
      const until = signal === "SIGINT" ? Date.now() + waitMs / 2 : deadline;
      while (isAlive(left.pid) && Date.now() < until) await pause(20);
      if (!isAlive(left.pid)) return "stopped";
    }
    throw new UserError(`a PostgreSQL left from an earlier start (process ${left.pid}) does not end`, {
      fix: `end it with \`kill -9 ${left.pid}\` and start again`,
    });
  }
  if (left.socketDir && (await answers(join(left.socketDir, ".s.PGSQL.5432")))) {
    throw new UserError(`another PostgreSQL is serving ${dataDir} from outside this container or machine`, {
      fix: "stop the other Leoflow that uses this folder",
    });
  }
  // Its own backends may outlive a killed postmaster by a moment, and starting beside them would destroy data: the shared
  // memory they are attached to tells.
  const deadline = Date.now() + waitMs;
  while (attachedTo(left.sharedMemoryId) > 0) {
    if (Date.now() > deadline) {
      throw new UserError(`processes of an earlier PostgreSQL still use ${dataDir}`, {
        fix: "end them (`ps aux | grep postgres`) and start again",
      });
    }
    await pause(50);
  }
  // A number that answers to a signal belongs to a stranger or to a zombie that nobody has waited for yet: PostgreSQL would
  // take either for itself and refuse, over both of its lock files.
  if (!answersToSignals(left.pid)) return "none";
  rmSync(join(dataDir, "postmaster.pid"), { force: true });
  if (left.socketDir) rmSync(join(left.socketDir, ".s.PGSQL.5432.lock"), { force: true });
  return "removed";
}

async function isPostgres(pid: number): Promise<boolean> {
  if (!isAlive(pid)) return false;
  if (existsSync("/proc/self/cmdline")) {
    try {
      return /(^|\/)postgres\0/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8"));
    } catch {
      return false;
    }
  }
  return /(^|\/)postgres(\s|$)/m.test((await runCommand(["ps", "-o", "command=", "-p", String(pid)])).stdout);
}

/** A zombie is not alive: it only waits for its parent to notice. */
export function isAlive(pid: number): boolean {
  return answersToSignals(pid) && !isZombie(pid);
}

function answersToSignals(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function isZombie(pid: number): boolean {
  try {
    return /\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

function signalIfAlive(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // gone already
  }
}

function attachedTo(sharedMemoryId: number | undefined): number {
  if (sharedMemoryId === undefined) return 0;
  try {
    const rows = readFileSync("/proc/sysvipc/shm", "utf8").trim().split("\n");
    const columns = rows[0]?.trim().split(/\s+/) ?? [];
    const row = rows
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .find((cells) => Number(cells[columns.indexOf("shmid")]) === sharedMemoryId);
    return Number(row?.[columns.indexOf("nattch")] ?? 0);
  } catch {
    return 0;
  }
}

function answers(socket: string): Promise<boolean> {
  return new Promise((done) => {
    const connection = connect(socket);
    const finish = (result: boolean) => {
      connection.destroy();
      done(result);
    };
    connection.once("connect", () => finish(true));
    connection.once("error", () => finish(false));
  });
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
