import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { runCommand } from "./command.ts";
import { isAlive } from "./postgres/stale-server.ts";

/** Who holds a home. `started` tells the process from a later one with the same number. */
export interface LockHolder {
  pid: number;
  started: string;
  /** Once it is ready. */
  url?: string;
}

export interface HomeLock {
  /** Tells a second start where this one is. */
  announce(url: string): void;
  release(): void;
}

/**
 * One Leoflow per home. The lock is a file that names its holder; one left by a killed Leoflow is taken over. Returns the
 * holder instead of a lock where there is a living one.
 */
export async function acquireHomeLock(file: string): Promise<{ lock: HomeLock } | { heldBy: LockHolder }> {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const self: LockHolder = { pid: process.pid, started: (await startOf(process.pid)) ?? "" };
  const fresh = `${file}.${process.pid}`;
  for (;;) {
    writeFileSync(fresh, JSON.stringify(self), { mode: 0o600 });
    try {
      // link() fails where the file exists, and what it makes is complete at once.
      linkSync(fresh, file);
      rmSync(fresh);
      break;
    } catch (error) {
      rmSync(fresh, { force: true });
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const text = readIfThere(file);
    if (text === undefined) continue;
    const holder = parseHolder(text);
    if (holder && isAlive(holder.pid) && (await startOf(holder.pid)) === holder.started) return { heldBy: holder };
    // Take the stale file away; should another start have put its own there meanwhile, give that back.
    const aside = `${fresh}.stale`;
    try {
      renameSync(file, aside);
      if (readIfThere(aside) !== text) linkSync(aside, file);
    } catch {
      // another start was quicker
    }
    rmSync(aside, { force: true });
  }
  let held = true;
  return {
    lock: {
      announce(url) {
        if (!held) return;
        writeFileSync(fresh, JSON.stringify({ ...self, url }), { mode: 0o600 });
        renameSync(fresh, file);
      },
      release() {
        if (held) rmSync(file, { force: true });
        held = false;
      },
    },
  };
}

/** Whom the lock names, without taking it. `living` is false for one that was killed. */
export async function findLockHolder(file: string): Promise<(LockHolder & { living: boolean }) | undefined> {
  const holder = parseHolder(readIfThere(file) ?? "");
  return holder && { ...holder, living: isAlive(holder.pid) && (await startOf(holder.pid)) === holder.started };
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function parseHolder(text: string): LockHolder | undefined {
  try {
    const value = JSON.parse(text) as Partial<LockHolder>;
    return typeof value.pid === "number" && typeof value.started === "string" ? (value as LockHolder) : undefined;
  } catch {
    return undefined;
  }
}

async function startOf(pid: number): Promise<string | undefined> {
  try {
    // Field 22 of stat, counted behind the program's name, which may hold blanks and parentheses.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    const result = await runCommand(["ps", "-o", "lstart=", "-p", String(pid)]);
    return result.code === 0 ? result.stdout.trim() : undefined;
  }
}
