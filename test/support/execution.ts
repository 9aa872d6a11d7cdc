import { pino } from "pino";
import { fernet, newFernetKey } from "../../src/kit/fernet.ts";
import { instantFromMicros, instantMicros, type Instant } from "../../src/kit/instant.ts";
import { EventBus, type LeoflowEvent } from "../../src/domain/events.ts";
import { RawJson, type TaskExecution } from "../../src/domain/task-execution.ts";
import type { JsonText } from "../../src/kit/json-text.ts";
import type { ExecutionConfig, ExecutionContext } from "../../src/execution/context.ts";
import { createExecutionContext, createTaskExecution } from "../../src/execution/task-execution.ts";
import { createDagRun } from "../../src/store/dag-run-creation.ts";
import { VersionCache } from "../../src/store/dag-versions.ts";
import { createTestDatabase, type TestDatabase } from "./database.ts";
import { NOON } from "./factories.ts";

export interface TestExecution {
  database: TestDatabase;
  x: ExecutionContext;
  execution: TaskExecution;
  /** What was published, in order; tests empty it. */
  events: LeoflowEvent[];
  /** The clock stands at NOON until a test moves it. */
  clock: { now(): Instant; advanceSeconds(seconds: number): Instant };
}

const KINDS = ["task-instance", "dag-run", "dag", "pool", "kill", "callback"] as const;

/** The execution service on a database of its own. */
export async function createTestExecution(config: Partial<ExecutionConfig> = {}): Promise<TestExecution> {
  const database = await createTestDatabase();
  let micros = instantMicros(NOON);
  const clock = {
    now: () => instantFromMicros(micros),
    advanceSeconds: (seconds: number) => instantFromMicros((micros += seconds * 1_000_000)),
  };
  const bus = new EventBus();
  const events: LeoflowEvent[] = [];
  for (const kind of KINDS) bus.on(kind, (event) => events.push(event));
  const versions = new VersionCache(database.db);
  const kit = { logger: pino({ level: "silent" }), clock };
  const deps = {
    database,
    bus,
    secrets: fernet(newFernetKey()),
    graph: async (id: string) => (await versions.get(id)).graph,
    createDagRun,
    manualDataInterval: async (_graph: unknown, runAfter: Instant) => ({ start: runAfter, end: runAfter }),
  };
  const settings = { reconnectDelaysMs: [], ...config };
  return {
    database,
    x: createExecutionContext(kit, deps, settings),
    execution: createTaskExecution(kit, deps, settings),
    events,
    clock,
  };
}

export const WORKER = { hostname: "here", unixname: "leo", pid: 42, startDate: NOON };

export function raw(text: string): RawJson {
  return new RawJson(text as JsonText);
}
