import type { Socket } from "node:net";
import { join } from "node:path";
import type { ProcessExit, Reply, TaskExecution, ToSupervisor } from "../domain/task-execution.ts";
import { RawJson } from "../domain/task-execution.ts";
import { encodeReply } from "../domain/task-frame.ts";
import { taskLogPath, type Workload } from "../domain/workload.ts";
import { parseInstant, type Instant } from "../kit/instant.ts";
import { fromJsonText } from "../kit/json-text.ts";
import type { Kit } from "../kit/service.ts";
import { delay } from "./delay.ts";
import { describeExitReason, type OomCounter } from "./exit-reason.ts";
import type { ChildExit, ForkedChild } from "./forked-child.ts";
import { serveRequests } from "./frames.ts";
import { maskAsAsked, maskWhatWasFetched } from "./reply-secrets.ts";
import { SecretMasker } from "./secret-masker.ts";
import { TaskLog } from "./task-log.ts";

export interface TaskProcessDeps {
  execution: TaskExecution;
  oom: OomCounter;
  /** Answers this request of the connection with a descriptor to log to; `onLogs` takes what is written there. */
  resendLoggingFd: (requestId: number, requests: Socket, onLogs: (logs: Socket) => void) => Promise<void>;
}

export interface TaskProcessConfig {
  logsDir: string;
  hostname: string;
  unixname: string;
  heartbeatMs: number;
  /** From SIGTERM, which lets on_kill run, to SIGKILL. */
  graceMs: number;
  /** `[core] task_success_overtime`: how long callbacks and listeners may run after the task's end. */
  overtimeMs: number;
}

/** Messages that settle the task instance at once; TaskState is settled when the process has ended. */
const TERMINAL = new Set(["SucceedTask", "RetryTask", "DeferTask", "AwaitInputTask", "RescheduleTask"]);
/** `[workers] max_failed_heartbeats`. */
const MAX_FAILED_HEARTBEATS = 3;
/** Output that is still in the sockets when the process is gone is read until it stops coming. */
const DRAIN_MS = 250;
/** The database may be away for a moment. */
const SETTLE_ATTEMPTS = 4;
const SETTLE_PAUSE_MS = 250;

/**
 * Supervises one try, as Airflow's ActivitySubprocess does: start, serve, heartbeat, settle.
 *
 * 1. The task gets its StartupDetails only after the control plane has accepted the start.
 * 2. `exited` is called after every request has been answered and the log is complete, and never after the control plane
 *    said that this try is no longer ours.
 */
export class TaskProcess {
  readonly #kit: Kit;
  readonly #execution: TaskExecution;
  readonly #oom: OomCounter;
  readonly #resendFd: TaskProcessDeps["resendLoggingFd"];
  readonly #config: TaskProcessConfig;
  readonly #workload: Workload;
  readonly #masker = new SecretMasker();
  readonly #log: TaskLog;
  #child: ForkedChild | null = null;
  #taskState: ProcessExit["taskState"] = null;
  /** A terminal message that the control plane failed to take; tried once more at the end. */
  #unsettled: ToSupervisor | null = null;
  #terminalAt: number | null = null;
  #killReason: string | null = null;
  #lost = false;
  readonly #laterLogs: Socket[] = [];
  #killTimer: NodeJS.Timeout | null = null;
  #leave!: () => void;
  readonly #unwanted: Promise<null>;

  constructor(kit: Kit, deps: TaskProcessDeps, config: TaskProcessConfig, workload: Workload) {
    this.#kit = kit;
    this.#execution = deps.execution;
    this.#oom = deps.oom;
    this.#resendFd = deps.resendLoggingFd;
    this.#config = config;
    this.#workload = workload;
    this.#unwanted = new Promise((resolve) => (this.#leave = () => resolve(null)));
    this.#log = new TaskLog(kit, join(config.logsDir, taskLogPath(workload, workload.tryNumber)), this.#masker);
  }

  /** Runs to the end. Rejects when the control plane cannot be told of it; its reaper finds the try then. */
  async run(takeChild: () => Promise<ForkedChild>): Promise<void> {
    try {
      const child = await this.#take(takeChild);
      this.#child = child;
      try {
        await this.#supervise(child);
      } finally {
        child.kill("SIGKILL");
        child.destroySockets();
      }
    } catch (error) {
      if (!(error instanceof NotStarted)) throw error;
      // Who takes a try away before it starts has settled it already, or wants it queued for the next start.
      if (this.#killReason !== null) {
        await this.#log.close();
        return;
      }
      this.#log.add("error", `The task's process ${error.message}`);
      await this.#log.close();
      await this.#settle({ code: null, signal: null }, error.message, null);
    } finally {
      if (this.#killTimer) clearTimeout(this.#killTimer);
    }
  }

  /** Waits for the child, but not longer than the task is wanted: Python may take seconds to warm up. */
  async #take(takeChild: () => Promise<ForkedChild>): Promise<ForkedChild> {
    const taken = takeChild();
    const child = await notStartedIfFails(Promise.race([taken, this.#unwanted]));
    if (child) return child;
    taken.then(
      (late) => late.kill("SIGKILL"),
      () => undefined,
    );
    throw new NotStarted("ended before it started");
  }

  /** Ends the process: SIGTERM to its group, so that on_kill runs, and SIGKILL after the grace period. */
  terminate(reason: string, graceMs = this.#config.graceMs): void {
    if (this.#killReason === null) {
      this.#killReason = reason;
      this.#log.add("error", `Task is being terminated: ${reason}`);
      this.#child?.kill("SIGTERM");
      this.#leave();
    }
    if (this.#killTimer) clearTimeout(this.#killTimer);
    this.#killTimer = setTimeout(() => this.#child?.kill("SIGKILL"), graceMs);
  }

  async #supervise(child: ForkedChild): Promise<void> {
    const { id } = this.#workload;
    const startDate = this.#kit.clock.now();
    const { hostname, unixname } = this.#config;
    const answer = await notStartedIfFails(
      this.#execution.start(id, { hostname, unixname, pid: child.pid, startDate }),
    );
    if (answer.kind === "refused") {
      this.#kit.logger.warn({ id, ...answer }, "the control plane refused to start a task");
      this.#lost = true;
      return;
    }
    const served = new Promise<void>((resolve) =>
      serveRequests(child.socket("requests"), (message, requestId) => this.#handle(message, requestId), resolve),
    );
    const output = Promise.all([
      this.#log.pipeJson(child.socket("logs")),
      this.#log.pipeText(child.socket("stdout"), "task.stdout"),
      this.#log.pipeText(child.socket("stderr"), "task.stderr"),
    ]);
    child.socket("requests").resume();
    child.socket("requests").write(this.#startupDetails(new RawJson(answer.context), startDate));
    const pulse = setInterval(() => void this.#beat(child), this.#config.heartbeatMs);
    const exit = await child.exited;
    clearInterval(pulse);
    await this.#drain(child, output);
    child.socket("requests").destroy();
    await served;
    if (this.#unsettled) await this.#execution.handle(id, this.#unsettled);
    const settled = this.#terminalAt !== null && !this.#unsettled;
    const reason = describeExitReason(exit, {
      killReason: this.#killReason,
      oom: exit.signal === "SIGKILL" && (await this.#oom.hasStruck()),
      settled,
    });
    if (reason.line) this.#log.add(reason.level, reason.line, reason.fields);
    await this.#log.close();
    await this.#settle(exit, reason.reason, { hostname, pid: child.pid });
  }

  /** `process` tells the end of this process from that of another which took the try up again; null: none was started. */
  async #settle(exit: ChildExit, reason: string | null, process: ProcessExit["process"]): Promise<void> {
    if (this.#lost) return;
    const endDate = this.#kit.clock.now();
    const report = { ...exit, process, taskState: this.#taskState, reason, endDate };
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#execution.exited(this.#workload.id, report);
        return;
      } catch (error) {
        if (attempt === SETTLE_ATTEMPTS) throw error;
        this.#kit.logger.warn({ err: error, id: this.#workload.id }, "could not report a task's end; trying again");
        await delay(SETTLE_PAUSE_MS * attempt);
      }
    }
  }

  #startupDetails(context: RawJson, startDate: Instant): Buffer {
    const { id, taskId, dagId, runId, tryNumber, dagVersionId, mapIndex, queue, dagRelPath, bundle } = this.#workload;
    const { start_date } = fromJsonText<{ start_date?: string | null }>(context.text);
    return encodeReply(0, {
      body: {
        type: "StartupDetails",
        ti: {
          id,
          task_id: taskId,
          dag_id: dagId,
          run_id: runId,
          try_number: tryNumber,
          dag_version_id: dagVersionId,
          map_index: mapIndex,
          hostname: this.#config.hostname,
          context_carrier: null,
          queue,
        },
        dag_rel_path: dagRelPath,
        bundle_info: bundle,
        // Set when a deferred or rescheduled task resumes: it keeps its first start.
        start_date: start_date ?? startDate,
        ti_context: context,
        sentry_integration: "",
      },
    });
  }

  async #handle(message: ToSupervisor, requestId: number): Promise<Reply | null> {
    switch (message.type) {
      case "MaskSecret":
        maskAsAsked(this.#masker, message);
        return { body: null };
      case "ResendLoggingFD":
        await this.#resendLoggingFd(requestId);
        return null;
      case "TaskState":
        this.#terminalAt = performance.now();
        this.#taskState = {
          state: message["state"] as "failed" | "skipped" | "removed",
          endDate: message["end_date"] ? parseInstant(message["end_date"] as string) : null,
          renderedMapIndex: (message["rendered_map_index"] as string | null | undefined) ?? null,
        };
        return { body: null };
    }
    const reply = await this.#execution.handle(this.#workload.id, message);
    if (TERMINAL.has(message.type)) {
      this.#terminalAt = performance.now();
      this.#unsettled = "error" in reply ? message : null;
    }
    maskWhatWasFetched(this.#masker, message, reply);
    return reply;
  }

  async #resendLoggingFd(requestId: number): Promise<void> {
    const requests = this.#child?.socket("requests");
    if (!requests) return;
    await this.#resendFd(requestId, requests, (logs) => {
      this.#laterLogs.push(logs);
      void this.#log.pipeJson(logs);
    });
  }

  #failedHeartbeats = 0;

  async #beat(child: ForkedChild): Promise<void> {
    if (this.#terminalAt !== null) {
      if (performance.now() - this.#terminalAt > this.#config.overtimeMs && this.#killReason === null) {
        this.#log.add("warning", "Task success overtime reached; terminating process.");
        this.terminate("overtime after the task's end");
      }
      return;
    }
    if (this.#lost || child.exit) return;
    try {
      const answer = await this.#execution.heartbeat(this.#workload.id, {
        hostname: this.#config.hostname,
        pid: child.pid,
      });
      this.#failedHeartbeats = 0;
      // It may have reached its end while we asked.
      if (answer === "alive" || this.#terminalAt !== null || child.exit) return;
      this.#lost = true;
      this.#log.add("error", "Server indicated the task shouldn't be running anymore. Terminating process", {
        detail: answer,
      });
      this.terminate(`the control plane says: ${answer}`);
    } catch (error) {
      this.#failedHeartbeats++;
      this.#kit.logger.warn({ err: error, id: this.#workload.id }, "heartbeat failed");
      if (this.#failedHeartbeats >= MAX_FAILED_HEARTBEATS) this.terminate("too many failed heartbeats");
    }
  }

  /** A process that the task left behind may hold the sockets open; what comes in is read, but not waited for long. */
  async #drain(child: ForkedChild, output: Promise<unknown>): Promise<void> {
    const sockets = ["logs", "stdout", "stderr"].map((kind) => child.socket(kind));
    let ended = false;
    void output.then(() => (ended = true));
    let read = -1;
    for (;;) {
      await Promise.race([output, delay(DRAIN_MS)]);
      const now = sockets.reduce((sum, socket) => sum + socket.bytesRead, 0);
      if (ended || (now === read && !this.#log.isCongested)) break;
      read = now;
    }
    for (const socket of [...sockets, ...this.#laterLogs]) socket.destroy();
    await output;
  }
}

/** The task's code never ran. */
class NotStarted extends Error {}

async function notStartedIfFails<T>(step: Promise<T>): Promise<T> {
  try {
    return await step;
  } catch (error) {
    throw new NotStarted(`could not start: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}
