import { cpSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DEFAULT_TRIGGERER, Triggerer, type TriggererConfig } from "../../src/agent/triggerer.ts";
import type { RunTrigger, TriggerReport } from "../../src/domain/trigger.ts";
import { newId } from "../../src/kit/ids.ts";
import { toJsonText } from "../../src/kit/json-text.ts";
import { startTestRuntime, testKit, untilTrue, type TestRuntime } from "./python.ts";

/** A Python runtime whose workspace holds the triggers of test/e2e/deferral, and what runs them. */
export interface TestTriggers extends TestRuntime {
  /** A trigger that does one thing; a task waits for it. */
  does(what: string, value?: unknown, changes?: Partial<RunTrigger>): RunTrigger;
  /** What it noted of its life. */
  marksOf(trigger: RunTrigger): string;
  /** The process that runs it, or ran it last. */
  pidOf(trigger: RunTrigger): number;
  logOf(trigger: RunTrigger): string;
  start(
    config?: Partial<TriggererConfig>,
    report?: (reports: readonly TriggerReport[]) => Promise<void>,
  ): Promise<RunningTriggerer>;
  /** Stops what was started. */
  stopAll(): Promise<void>;
}

export interface RunningTriggerer {
  triggerer: Triggerer;
  reports: TriggerReport[];
  of(trigger: RunTrigger): TriggerReport | undefined;
  until(trigger: RunTrigger, withinMs?: number): Promise<TriggerReport>;
}

export async function startTestTriggers(): Promise<TestTriggers> {
  const t = await startTestRuntime();
  const file = "deferral_triggers.py";
  cpSync(join(import.meta.dirname, "../../test/e2e/deferral", file), join(t.workspace, file));
  await t.runtime.warm();
  const made: Triggerer[] = [];
  let nextTrigger = 1;

  const does: TestTriggers["does"] = (what, value = null, changes = {}) => {
    const id = nextTrigger++;
    return {
      id,
      classpath: "deferral_triggers.DoesTrigger",
      kwargs: toJsonText({ what, value, marks: join(t.flags, `marks-${id}`) }),
      taskInstance: {
        id: newId(),
        dagId: "d",
        runId: "r",
        taskId: `t${id}`,
        mapIndex: -1,
        tryNumber: 1,
        dagVersionId: newId(),
        queue: "default",
        poolSlots: 1,
        priorityWeight: 1,
        hostname: null,
        timeoutAt: null,
        nextKwargs: null,
      },
      startContext: null,
      watchedAssets: null,
      environment: "default",
      version: { archiveDigest: "v1", dagRelPath: "d.py" },
      logPath: `trigger-${id}.log`,
      ...changes,
    };
  };

  const marksOf = ({ id }: RunTrigger): string => {
    const file = join(t.flags, `marks-${id}`);
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  };
  const pidOf = (trigger: RunTrigger): number => Number(/run (\d+)\n(?!.*run)/s.exec(marksOf(trigger))?.[1]);
  const logOf = ({ id }: RunTrigger): string => {
    const file = join(t.home, "logs", `trigger-${id}.log`);
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  };

  const start: TestTriggers["start"] = async (config = {}, report = async () => undefined) => {
    const reports: TriggerReport[] = [];
    const triggerer = new Triggerer(
      testKit,
      {
        spawn: (environment, version) => t.runtime.startTriggers(environment, version),
        handle: (message) => t.execution.handle("", message),
        outcomes: {
          report: async (some) => {
            await report(some);
            reports.push(...some);
          },
        },
      },
      {
        ...DEFAULT_TRIGGERER,
        logsDir: join(t.home, "logs"),
        versionDir: () => t.workspace,
        workspace: t.workspace,
        checkMs: 100,
        ...config,
      },
    );
    made.push(triggerer);
    await triggerer.start();
    const of = ({ id }: RunTrigger) => reports.find(({ triggerId }) => triggerId === id);
    return {
      triggerer,
      reports,
      of,
      until: async (trigger, withinMs = 20_000) => {
        await untilTrue(() => of(trigger) !== undefined, withinMs);
        return of(trigger) as TriggerReport;
      },
    };
  };

  const stopAll = async (): Promise<void> => {
    for (const triggerer of made.splice(0)) await triggerer.stop();
  };
  return { ...t, does, marksOf, pidOf, logOf, start, stopAll };
}

/** What a task that is resumed gets. */
export const nextKwargsOf = (report: TriggerReport): unknown =>
  report.kind === "resume" ? (JSON.parse(report.nextKwargs) as unknown) : report;
