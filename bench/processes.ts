import { readdirSync, readFileSync } from "node:fs";

export interface Footprint {
  processes: number;
  /** Proportional set size, MB: shared pages are counted once over all processes. */
  pssMb: number;
  /** CPU seconds used so far. */
  cpuSeconds: number;
  byName: { name: string; pssMb: number }[];
}

const TICKS_PER_SECOND = 100;

/** All processes below `rootPid`, and those whose command line names `home` (PostgreSQL is its own tree). Linux only. */
export function footprint(rootPid: number, home: string): Footprint {
  const parents = new Map<number, number>();
  const commands = new Map<number, string>();
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const stat = read(pid, "stat");
    if (stat === null) continue;
    parents.set(pid, Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
    commands.set(pid, (read(pid, "cmdline") ?? "").replaceAll("\0", " ").trim());
  }
  const seeds = new Set(
    [...commands].filter(([pid, line]) => pid === rootPid || line.includes(home)).map(([pid]) => pid),
  );
  seeds.delete(process.pid);
  const members = [...parents.keys()].filter((pid) => {
    for (let at: number | undefined = pid; at !== undefined && at > 1; at = parents.get(at))
      if (seeds.has(at)) return true;
    return false;
  });
  const byName = members.map((pid) => ({ name: (commands.get(pid) ?? "").slice(0, 60), pssMb: memoryMb(pid, "Pss") }));
  return {
    processes: members.length,
    pssMb: byName.reduce((sum, { pssMb }) => sum + pssMb, 0),
    cpuSeconds: members.reduce((sum, pid) => sum + cpuSeconds(pid), 0),
    byName: byName.sort((a, b) => b.pssMb - a.pssMb),
  };
}

/** MB, as the kernel counts them under that name. */
export function memoryMb(pid: number, name: "Rss" | "Pss" | "Private_Dirty"): number {
  const kb = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(read(pid, "smaps_rollup") ?? "")?.[1];
  return Number(kb ?? 0) / 1024;
}

/** Used so far. */
export function cpuSeconds(pid: number): number {
  const stat = read(pid, "stat");
  if (stat === null) return 0;
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function read(pid: number, file: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return null;
  }
}
