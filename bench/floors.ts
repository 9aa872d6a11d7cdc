import { execFileSync } from "node:child_process";

const FORK = `
import gc, os, statistics, time
import airflow.sdk.execution_time.task_runner
gc.collect(); gc.freeze()
times = []
for _ in range(200):
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    times.append((time.perf_counter() - start) * 1000)
print(statistics.median(times))
`;

/** Milliseconds to fork a Python that has the Task SDK imported and to see it exit: no task can be faster. */
export function forkFloorMs(python: string): number {
  return Number(
    execFileSync(python, ["-c", FORK], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
      .trim()
      .split("\n")
      .at(-1),
  );
}

/** Milliseconds for one committed update over the server's own socket: no state change can be faster. */
export async function commitFloorMs(query: (text: string) => Promise<unknown>): Promise<number> {
  await query("create table if not exists public.bench_floor (id integer primary key, n integer)");
  await query("insert into public.bench_floor values (1, 0) on conflict do nothing");
  const times: number[] = [];
  for (let round = 0; round < 200; round++) {
    const started = performance.now();
    await query("update public.bench_floor set n = n + 1 where id = 1");
    times.push(performance.now() - started);
  }
  await query("drop table public.bench_floor");
  return median(times);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}
