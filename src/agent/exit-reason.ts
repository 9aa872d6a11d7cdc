import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ChildExit } from "./forked-child.ts";
import type { LogLevel } from "./task-log.ts";

/** Exit codes with which Airflow's child says that it crashed outside of the task's own code. */
const CRASH_CODES = new Set([124, 125, 126]);

/** Tells whether the kernel's OOM killer has struck in our cgroup since the last question; false where that is unknown. */
export class OomCounter {
  #seen: Promise<number> = countOomKills();

  async hasStruck(): Promise<boolean> {
    const before = this.#seen;
    this.#seen = countOomKills();
    return (await this.#seen) > (await before);
  }
}

async function countOomKills(): Promise<number> {
  for (const path of await memoryEventFiles()) {
    try {
      const count = /^oom_kill (\d+)/m.exec(await readFile(path, "utf8"))?.[1];
      if (count) return Number(count);
    } catch {
      // Not this cgroup version.
    }
  }
  return 0;
}

async function memoryEventFiles(): Promise<string[]> {
  try {
    const own = /^0::(.*)$/m.exec(await readFile("/proc/self/cgroup", "utf8"))?.[1] ?? "/";
    return [join("/sys/fs/cgroup", own, "memory.events"), "/sys/fs/cgroup/memory/memory.oom_control"];
  } catch {
    return [];
  }
}

export interface ExitReason {
  /** For the API and the control plane; null: a regular end. */
  reason: string | null;
  /** For the task's log. */
  line: string | null;
  level: LogLevel;
  fields: Record<string, unknown>;
}

/** Says why a process ended, in words; the log lines are Airflow's where it has one. */
export function describeExitReason(
  exit: ChildExit,
  known: { killReason: string | null; oom: boolean; settled: boolean },
): ExitReason {
  if (known.killReason !== null) {
    return { reason: `killed: ${known.killReason}`, line: "Task killed!", level: "error", fields: {} };
  }
  if (exit.signal === "SIGKILL") {
    const reason = known.oom ? "killed: out of memory" : "killed by SIGKILL";
    const likely = known.oom ? "The system ran out of memory (OOM)." : "Likely out of memory error (OOM).";
    return {
      reason,
      line: `Process terminated by signal SIGKILL. ${likely} For more information, see https://airflow.apache.org/docs/apache-airflow/stable/troubleshooting.html#process-terminated-by-signal.`,
      level: "critical",
      fields: { signal: -9, signal_name: "SIGKILL" },
    };
  }
  if (exit.signal) {
    return {
      reason: `killed by ${exit.signal}`,
      line: `Process terminated by signal ${exit.signal}. For more information, see https://airflow.apache.org/docs/apache-airflow/stable/troubleshooting.html#process-terminated-by-signal.`,
      level: exit.signal === "SIGSEGV" ? "critical" : "error",
      fields: { signal_name: exit.signal },
    };
  }
  if (exit.code !== 0) {
    const crash = exit.code !== null && CRASH_CODES.has(exit.code);
    return {
      reason: crash ? `crashed outside of the task's code (exit code ${exit.code})` : `exit code ${exit.code}`,
      line: "Process exited abnormally",
      level: "warning",
      fields: { exit_code: exit.code },
    };
  }
  if (known.settled) return { reason: null, line: null, level: "info", fields: {} };
  return {
    reason: "ended without reporting a state",
    line: "Process ended without reporting a state",
    level: "error",
    fields: { exit_code: 0 },
  };
}
