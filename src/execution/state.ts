import { addMicros, type Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import { newId } from "../kit/ids.ts";
import type { DagGraph } from "../domain/dag-graph.ts";
import { nextRetryAt } from "../domain/retry.ts";
import { readOutletReport, type OutletReport } from "../domain/asset/outlet-events.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import {
  awaitInputTaskInstance,
  deferTaskInstance,
  rescheduleTaskInstance,
  retryTaskInstance,
} from "../store/execution-park.ts";
import { failFastTaskInstance, finishTaskInstance, type Finish } from "../store/execution-settle.ts";
import type { SettledRow } from "../store/execution-settled.ts";
import { whereabouts } from "../store/execution-liveness.ts";
import { findLiveTry, type LiveTryRow } from "../store/execution-task-instance.ts";
import { succeedWithOutlets } from "../store/outlet-events.ts";
import { isTransient } from "./database-retry.ts";
import { ok, refuse, replyTo, type Answer } from "./answer.ts";
import type { ExecutionContext, MessageHandler } from "./context.ts";
import type { MessageFields } from "./message-fields.ts";

// `PATCH /task-instances/{id}/state`, one function per kind of new state. Invariants:
// 1. Only a running try changes state, and only under the id it was started with: every statement is guarded by both.
// 2. Events go out after the statement has committed.

/** "unchanged": it is in this state already, as when an answer was lost and the report came twice. */
export type StateChange = Answer<"changed" | "unchanged">;

interface Report {
  id: string;
  endDate: Instant;
  renderedMapIndex: string | null;
}

/** `outlets`: what the task updated; events of it are written together with its state. */
export async function succeedTask(
  x: ExecutionContext,
  report: Report,
  outlets: OutletReport | null = null,
): Promise<StateChange> {
  const end = { ...report, state: "success" as const };
  return await changed(x, report.id, "success", outlets ? finishWithOutlets(x, end, outlets) : finish(x, end));
}

export type EndState = "failed" | "skipped" | "removed" | "upstream_failed";

/** A worker's report that its task has ended otherwise. */
export async function endTask(x: ExecutionContext, state: EndState, report: Report): Promise<StateChange> {
  if (state !== "failed") return await changed(x, report.id, state, finish(x, { ...report, state }));
  const live = await findLiveTry(x.deps.database.pool, report.id);
  return await changed(x, report.id, "failed", live && failTry(x, live, report));
}

async function finishWithOutlets(
  x: ExecutionContext,
  end: Omit<Finish, "now">,
  outlets: OutletReport,
): Promise<SettledRow | null> {
  const now = x.kit.clock.now();
  const done = await succeedWithOutlets(x.deps.database.db, { ...end, now }, outlets, {
    now,
    graph: x.deps.graph,
    multiTeam: x.config.multiTeam,
  });
  if (!done) return null;
  for (const asset of done.inactive) {
    x.kit.logger.warn({ task: done.settled.task_id, asset }, "a task has updated an asset that is not active");
  }
  if (done.dagIds.length > 0) x.deps.bus.publish({ kind: "assets-updated", dagIds: done.dagIds });
  return done.settled;
}

export async function retryTask(
  x: ExecutionContext,
  report: Report & { delaySeconds: number | null; reason: string | null },
): Promise<StateChange> {
  const live = await findLiveTry(x.deps.database.pool, report.id);
  return await changed(x, report.id, "up_for_retry", live && retryTry(x, live, report));
}

export async function rescheduleTask(
  x: ExecutionContext,
  report: { id: string; endDate: Instant; rescheduleDate: Instant },
): Promise<StateChange> {
  const now = x.kit.clock.now();
  return await changed(
    x,
    report.id,
    "up_for_reschedule",
    rescheduleTaskInstance(x.deps.database.pool, { ...report, now }),
  );
}

export interface Parking {
  id: string;
  nextMethod: string;
  nextKwargs: JsonText;
  timeoutSeconds: number | null;
  renderedMapIndex: string | null;
}

export async function deferTask(
  x: ExecutionContext,
  report: Parking & { classpath: string; triggerKwargs: string; queue: string | null },
): Promise<StateChange> {
  const now = x.kit.clock.now();
  if (x.config.deferral === "fail") {
    const reason = `the task deferred to ${report.classpath}, but no triggerer runs here to wait for it`;
    const live = await findLiveTry(x.deps.database.pool, report.id);
    const failed = live && (await failTry(x, live, { ...report, endDate: now, reason }));
    if (!failed) return await changed(x, report.id, "failed", failed);
    publishSettled(x, failed);
    return refuse(501, "no_triggerer", `Failed: ${reason}. Use the operator with deferrable=False.`);
  }
  const timeoutAt = deadline(now, report.timeoutSeconds);
  return await changed(
    x,
    report.id,
    "deferred",
    deferTaskInstance(x.deps.database.pool, { ...report, timeoutAt, now }),
  );
}

/** Parks a task until a person answers or the time is up. */
export async function awaitInput(x: ExecutionContext, report: Parking): Promise<StateChange> {
  const now = x.kit.clock.now();
  const timeoutAt = deadline(now, report.timeoutSeconds);
  return await changed(
    x,
    report.id,
    "awaiting_input",
    awaitInputTaskInstance(x.deps.database.pool, { ...report, timeoutAt, now }),
  );
}

function deadline(now: Instant, seconds: number | null): Instant | null {
  return seconds === null ? null : addMicros(now, Math.round(seconds * 1_000_000));
}

function finish(x: ExecutionContext, end: Omit<Finish, "now">): Promise<SettledRow | null> {
  return finishTaskInstance(x.deps.database.pool, { ...end, now: x.kit.clock.now() });
}

/** How a try ended, and from which states that may be. */
export interface TryEnd {
  endDate: Instant;
  renderedMapIndex: string | null;
  reason?: string | null;
  from?: readonly TaskInstanceState[];
}

/** Fails a try; in a `fail_fast` DAG, with all that is not a teardown. null when it was in no expected state. */
export async function failTry(x: ExecutionContext, live: LiveTryRow, end: TryEnd): Promise<SettledRow | null> {
  const { pool } = x.deps.database;
  const failure = { ...end, id: live.id, now: x.kit.clock.now() };
  const graph = live.fail_fast ? await graphOf(x, live) : null;
  if (!graph) return await finishTaskInstance(pool, { ...failure, state: "failed" });
  const teardownTaskIds = [...graph.tasks.values()].filter((task) => task.isTeardown).map((task) => task.taskId);
  const failed = await failFastTaskInstance(pool, { ...failure, teardownTaskIds });
  if (failed && failed.stopped.length > 0) {
    const killed = failed.stopped.filter((stop) => stop.killed).map((stop) => stop.id);
    const reason = `the DAG has fail_fast, and task ${live.task_id} failed`;
    if (killed.length > 0) x.deps.bus.publish({ kind: "kill", ids: killed, reason });
    x.deps.bus.publish({ kind: "dag-run", dagRunId: failed.dag_run_id });
  }
  return failed;
}

const MAX_REASON = 500;

/** Ends a try that will be made again. null when it was in no expected state. */
export async function retryTry(
  x: ExecutionContext,
  live: LiveTryRow,
  end: TryEnd & { delaySeconds?: number | null },
): Promise<(SettledRow & { previousId: string }) | null> {
  const { endDate, renderedMapIndex, reason = null, from = ["running"], delaySeconds = null } = end;
  const settled = await retryTaskInstance(x.deps.database.pool, {
    id: live.id,
    newId: newId(),
    endDate,
    wakeAt: await wakeAfter(x, live, endDate, delaySeconds),
    delayOverrideSeconds: delaySeconds,
    reason: reason?.slice(0, MAX_REASON) ?? null,
    renderedMapIndex,
    now: x.kit.clock.now(),
    from,
  });
  return settled && { ...settled, previousId: live.id };
}

async function wakeAfter(
  x: ExecutionContext,
  live: LiveTryRow,
  endDate: Instant,
  delaySeconds: number | null,
): Promise<Instant> {
  // Someone cleared it and waits for it to run again.
  if (live.state === "restarting") return endDate;
  const task = (await graphOf(x, live))?.tasks.get(live.task_id);
  if (!task) return addMicros(endDate, Math.round((delaySeconds ?? 0) * 1_000_000));
  const tried = {
    dagId: live.dag_id,
    taskId: live.task_id,
    logicalDate: live.logical_date,
    tryNumber: live.try_number,
  };
  return nextRetryAt(task, tried, endDate, delaySeconds);
}

/** null when there is none to be had: then the try ends by what its row says, rather than never. */
export async function graphOf(x: ExecutionContext, live: LiveTryRow): Promise<DagGraph | null> {
  if (live.dag_version_id === null) return null;
  try {
    return await x.deps.graph(live.dag_version_id);
  } catch (error) {
    if (isTransient(error)) throw error;
    x.kit.logger.error(
      { err: error, dagId: live.dag_id, dagVersionId: live.dag_version_id },
      "no graph of a DAG version",
    );
    return null;
  }
}

/** Tells the scheduler. */
export function publishSettled(x: ExecutionContext, settled: SettledRow & { previousId?: string }): void {
  x.deps.bus.publish({
    kind: "task-instance",
    dagRunId: settled.dag_run_id,
    id: settled.previousId ?? settled.id,
    taskId: settled.task_id,
    mapIndex: settled.map_index,
    state: settled.state,
    wakeAt: settled.wake_at,
    newId: settled.previousId === undefined ? null : settled.id,
    mappedLength: settled.mapped_length,
  });
}

async function changed(
  x: ExecutionContext,
  id: string,
  wanted: TaskInstanceState,
  work: Promise<(SettledRow & { previousId?: string }) | null> | null,
): Promise<StateChange> {
  const settled = await work;
  if (settled) {
    publishSettled(x, settled);
    return ok("changed");
  }
  const found = await whereabouts(x.deps.database.pool, id);
  if (!found.live) return notLive(found.archived);
  if (found.state === wanted) return ok("unchanged");
  return refuse(409, "invalid_state", "TI was not in the running state so it cannot be updated", {
    previous_state: found.state,
  });
}

/** Why an id that names no live row is refused. */
export function notLive(archived: boolean) {
  return archived
    ? refuse(410, "not_found", "Task Instance not found, it may have been moved to the Task Instance History table")
    : refuse(404, "not_found", "Task Instance not found");
}

function outletsOf(message: MessageFields): Answer<OutletReport> | null {
  try {
    const report = readOutletReport(message.plain("task_outlets"), message.optionalJson("outlet_events"));
    return report && ok(report);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return refuse(422, "invalid_partition_key", error.message);
  }
}

type ReportedChange = (x: ExecutionContext, id: string, message: MessageFields) => Promise<StateChange> | StateChange;

/** What a try may say of its own end or pause, by the message that says it. `EndTask` is what the Execution API calls it at once. */
export const stateChanges = {
  SucceedTask: async (x, id, message) => {
    const renderedMapIndex = message.optionalText("rendered_map_index");
    const end = { id, endDate: message.instant("end_date"), renderedMapIndex };
    const outlets = outletsOf(message);
    return outlets?.kind === "refused" ? outlets : await succeedTask(x, end, outlets?.value);
  },
  EndTask: (x, id, message) =>
    endTask(x, message.text("state") as EndState, {
      id,
      endDate: message.instant("end_date"),
      renderedMapIndex: message.optionalText("rendered_map_index"),
    }),
  RetryTask: (x, id, message) =>
    retryTask(x, {
      id,
      endDate: message.instant("end_date"),
      renderedMapIndex: message.optionalText("rendered_map_index"),
      delaySeconds: message.optionalNumber("retry_delay_seconds"),
      reason: message.optionalText("retry_reason"),
    }),
  RescheduleTask: (x, id, message) => {
    const rescheduleDate = message.instant("reschedule_date");
    return rescheduleTask(x, { id, endDate: message.instant("end_date"), rescheduleDate });
  },
  DeferTask: (x, id, message) => {
    const kwargs = message.optionalJson("trigger_kwargs") ?? ("{}" as JsonText);
    return deferTask(x, {
      id,
      classpath: message.text("classpath"),
      // A text is what the worker encrypted; it is stored without JSON's quotes.
      triggerKwargs: kwargs.trimStart().startsWith('"') ? (JSON.parse(kwargs) as string) : kwargs,
      queue: message.optionalText("queue"),
      nextMethod: message.text("next_method"),
      nextKwargs: message.optionalJson("next_kwargs") ?? ("{}" as JsonText),
      timeoutSeconds: message.optionalSeconds("trigger_timeout"),
      renderedMapIndex: message.optionalText("rendered_map_index"),
    });
  },
  AwaitInputTask: (x, id, message) =>
    awaitInput(x, {
      id,
      nextMethod: message.text("next_method"),
      nextKwargs: message.optionalJson("next_kwargs") ?? ("{}" as JsonText),
      timeoutSeconds: message.optionalSeconds("timeout"),
      renderedMapIndex: message.optionalText("rendered_map_index"),
    }),
} satisfies Record<string, ReportedChange>;

function ofCaller(change: ReportedChange): MessageHandler {
  return async (x, id, message) => replyTo(id === null ? notLive(false) : await change(x, id, message));
}

export const stateMessages = {
  SucceedTask: ofCaller(stateChanges.SucceedTask),
  // Settled when the process is gone, with `exited`: until then its callbacks run.
  TaskState: () => replyTo(ok(null)),
  RetryTask: ofCaller(stateChanges.RetryTask),
  RescheduleTask: ofCaller(stateChanges.RescheduleTask),
  DeferTask: ofCaller(stateChanges.DeferTask),
  AwaitInputTask: ofCaller(stateChanges.AwaitInputTask),
} satisfies Record<string, MessageHandler>;
