// How much memory and time thousands of waiting triggers take in one process, and how soon one that fires is heard of.
import { nextKwargsOf, startTestTriggers } from "../test/support/triggers.ts";
import type { RunTrigger } from "../src/domain/trigger.ts";
import { sleep } from "./client.ts";
import { cpuSeconds, memoryMb } from "./processes.ts";

const COUNT = Number(process.argv[2] ?? 10_000);
const FIRING = 500;

const t = await startTestTriggers();
const heardAt = new Map<number, number>();
const firedAt = new Map<number, number>();
const { triggerer } = await t.start({}, async (reports) => {
  for (const report of reports) {
    heardAt.set(report.triggerId, performance.timeOrigin + performance.now());
    const { event } = nextKwargsOf(report) as { event: unknown };
    if (typeof event === "number") firedAt.set(report.triggerId, event);
  }
});

/** TimeDeltaTrigger keeps the moment; so does what it is stored as. */
function at(ms: number): RunTrigger {
  const moment = {
    __classname__: "pendulum.datetime.DateTime",
    __version__: 2,
    __data__: {
      timestamp: ms / 1000,
      tz: {
        __classname__: "builtins.tuple",
        __version__: 1,
        __data__: ["UTC", "pendulum.tz.timezone.Timezone", 1, true],
      },
    },
  };
  return {
    ...t.does("event"),
    classpath: "airflow.providers.standard.triggers.temporal.DateTimeTrigger",
    kwargs: JSON.stringify({ moment, end_from_trigger: false }),
  };
}

function memory(pid: number): Record<string, number> {
  const mb = (name: Parameters<typeof memoryMb>[1]): number => Math.round(memoryMb(pid, name));
  return { rssMb: mb("Rss"), pssMb: mb("Pss"), privateMb: mb("Private_Dirty") };
}

try {
  const began = performance.now();
  triggerer.run(Array.from({ length: COUNT }, () => at(Date.now() + 3_600_000)));
  // The last in the queue fires at once: then all before it wait.
  const last = at(Date.now());
  triggerer.run([last]);
  while (!heardAt.has(last.id)) await sleep(20);
  const [running] = triggerer.processes();
  if (!running) throw new Error("no process");
  const { pid } = running;
  console.log({ waiting: running.triggers, startedInMs: Math.round(performance.now() - began), ...memory(pid) });
  await sleep(2_000);
  const before = cpuSeconds(pid);
  await sleep(10_000);
  console.log({ idleCpuPercent: Math.round((cpuSeconds(pid) - before) * 100) / 10, ...memory(pid) });
  // DateTimeTrigger looks at the clock once a second; these fire when they are to, and say when that was.
  const firing = Array.from({ length: FIRING }, (_, i) => t.does("at", Date.now() + 3_000 + i * 10));
  triggerer.run(firing);
  while (!firing.every(({ id }) => heardAt.has(id))) await sleep(20);
  const late = firing.map(({ id }) => (heardAt.get(id) ?? 0) - (firedAt.get(id) ?? 0)).sort((a, b) => a - b);
  const percentile = (share: number): number =>
    Math.round((late[Math.floor((late.length - 1) * share)] ?? 0) * 10) / 10;
  console.log({ p50Ms: percentile(0.5), p99Ms: percentile(0.99), worstMs: percentile(1) });
} finally {
  await t.stopAll();
  await t.runtime.stop();
}
