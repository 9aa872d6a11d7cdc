import type { Socket } from "node:net";
import type { Reply, ToSupervisor } from "../domain/task-execution.ts";
import { RawJson } from "../domain/task-execution.ts";
import { decodeRequest, encodeReply, genericError } from "../domain/task-frame.ts";
import type { RunTrigger, TaskEndState, TriggerReport } from "../domain/trigger.ts";
import type { JsonText } from "../kit/json-text.ts";
import { fromJsonText } from "../kit/json-text.ts";
import { formatInstant } from "../kit/instant.ts";
import type { Kit } from "../kit/service.ts";
import type { ChildExit, ForkedChild } from "./forked-child.ts";
import { FrameSplitter } from "./frames.ts";
import { maskAsAsked, maskWhatWasFetched } from "./reply-secrets.ts";
import { SecretMasker } from "./secret-masker.ts";
import type { TriggerLogs } from "./trigger-logs.ts";

/** Frames with this id are no answers: they tell the process what to create and to cancel. */
const PUSH_ID = 0xffff_ffff;
/** So many triggers go with one frame: the loop that runs them is not kept from it for long. */
const CREATE_BATCH = 200;
/** Of so many versions the process keeps the DAG. */
const MAX_DAGS = 64;
const LAST_LINES_MS = 5_000;
const MAX_LINE_BYTES = 1 << 20;

export interface TriggererProcessDeps {
  logs: TriggerLogs;
  /** Answers what a trigger asks for. */
  handle: (message: ToSupervisor) => Promise<Reply>;
  /** What the process reports; resolves when all of it is stored. */
  report: (reports: readonly TriggerReport[]) => Promise<void>;
  /** These ended, one way or another; their reports came before. */
  finished: (ids: readonly number[]) => void;
  /** Something keeps the event loop from running: the trigger that does, if it is known, and where it is. */
  blocked: (trigger: number | null, seconds: number, stack: readonly string[]) => void;
}

/** One process that runs triggers, as Airflow's TriggerRunnerSupervisor has it: starts, feeds, answers, logs. */
export class TriggererProcess {
  readonly startedAt = performance.now();
  readonly #kit: Kit;
  readonly #deps: TriggererProcessDeps;
  readonly #child: ForkedChild;
  readonly #masker = new SecretMasker();
  readonly #logPaths = new Map<number, string>();
  /** Versions whose serialized DAG the process has. */
  readonly #dags = new Set<string>();
  readonly #requests: Socket;
  #heardAt = performance.now();
  #owesAnswer = 0;

  constructor(kit: Kit, deps: TriggererProcessDeps, child: ForkedChild) {
    this.#kit = kit;
    this.#deps = deps;
    this.#child = child;
    this.#requests = child.socket("requests");
    this.#serve();
    this.#readLines(child.socket("logs"), (line) => this.#logLine(line));
    for (const kind of ["stdout", "stderr"]) {
      this.#readLines(child.socket(kind), (line) => {
        if (line.trim() !== "") this.#kit.logger.info({ text: this.#masker.mask(line) }, `triggers wrote to ${kind}`);
      });
    }
    this.#requests.write(encodeReply(0, { body: { type: "StartTriggerer" } }));
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Resolves when it is gone, however it went. */
  get exited(): Promise<ChildExit> {
    return this.#child.exited;
  }

  get isOver(): boolean {
    return this.#child.exit !== null;
  }

  /** Milliseconds since it last said something; none while it is us that it waits for. */
  get silenceMs(): number {
    return this.#owesAnswer > 0 ? 0 : performance.now() - this.#heardAt;
  }

  create(triggers: readonly RunTrigger[]): void {
    for (const { id, logPath } of triggers) if (logPath !== null) this.#logPaths.set(id, logPath);
    for (let at = 0; at < triggers.length; at += CREATE_BATCH) {
      const batch = triggers.slice(at, at + CREATE_BATCH);
      const forget_dags = this.#dags.size > MAX_DAGS;
      if (forget_dags) this.#dags.clear();
      this.#push({ forget_dags, dags: this.#newDags(batch), create: batch.map(workloadOf) });
    }
  }

  /** A serialized DAG goes to the process once, however many of its tasks start from a trigger. */
  #newDags(triggers: readonly RunTrigger[]): Record<string, RawJson> {
    const dags: Record<string, RawJson> = {};
    for (const { taskInstance, startContext } of triggers) {
      if (!taskInstance || !startContext || this.#dags.has(taskInstance.dagVersionId)) continue;
      this.#dags.add(taskInstance.dagVersionId);
      dags[taskInstance.dagVersionId] = new RawJson(startContext.dag);
    }
    return dags;
  }

  cancel(ids: readonly number[]): void {
    if (ids.length > 0) this.#push({ cancel: [...ids] });
  }

  /** Lets the triggers clean up, then ends them. */
  async stop(graceMs: number): Promise<void> {
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.kill(), graceMs);
    await this.#child.exited;
    clearTimeout(timer);
    this.#child.destroySockets();
  }

  kill(): void {
    this.#child.kill("SIGKILL");
    this.#child.destroySockets();
  }

  #push(body: Record<string, unknown>): void {
    if (this.#requests.writable) this.#requests.write(encodeReply(PUSH_ID, { body }));
  }

  /** Many triggers ask at the same time; each gets its answer when it is there. */
  #serve(): void {
    const splitter = new FrameSplitter();
    this.#requests.on("data", (chunk: Buffer) => {
      this.#heardAt = performance.now();
      for (const frame of splitter.push(chunk)) void this.#answer(frame);
    });
    this.#requests.on("error", () => this.#requests.destroy());
    this.#requests.resume();
  }

  async #answer(frame: Buffer): Promise<void> {
    let id = 0;
    let reply: Reply;
    try {
      const request = decodeRequest(frame);
      id = request.id;
      reply = request.message ? await this.#handle(request.message) : { body: null };
    } catch (error) {
      reply = genericError(error);
    }
    if (this.#requests.writable) this.#requests.write(encodeReply(id, reply));
  }

  async #handle(message: ToSupervisor): Promise<Reply> {
    if (message.type === "MaskSecret") {
      maskAsAsked(this.#masker, message);
      return { body: null };
    }
    if (message.type === "TriggerStateChanges") {
      this.#owesAnswer++;
      try {
        return await this.#takeChanges(message);
      } finally {
        this.#owesAnswer--;
        this.#heardAt = performance.now();
      }
    }
    const reply = await this.#deps.handle(message);
    maskWhatWasFetched(this.#masker, message, reply);
    return reply;
  }

  async #takeChanges(message: ToSupervisor): Promise<Reply> {
    const events = (message["events"] ?? []) as WireEvent[];
    const failures = (message["failures"] ?? []) as [number, string[] | null][];
    const finished = (message["finished"] ?? []) as number[];
    const reports = [
      ...events.map(reportOf),
      ...failures.map(([triggerId, traceback]) => ({ kind: "failure", triggerId, error: null, traceback }) as const),
    ];
    if (reports.length > 0) await this.#deps.report(reports);
    if (finished.length > 0) {
      // Its last lines come on another connection.
      setTimeout(() => finished.forEach((id) => this.#logPaths.delete(id)), LAST_LINES_MS).unref();
      this.#deps.finished(finished);
    }
    const persisted = events.flatMap(({ seq }) => (seq === null || seq === undefined ? [] : [seq]));
    return {
      body: {
        type: "TriggerStateSync",
        to_create: [],
        to_cancel: [],
        events_persisted: persisted.length > 0 ? persisted : null,
      },
    };
  }

  #logLine(line: string): void {
    let record: Record<string, unknown>;
    try {
      record = fromJsonText(line as JsonText);
    } catch {
      if (line.trim() !== "") this.#kit.logger.info({ text: this.#masker.mask(line) }, "triggers said");
      return;
    }
    if (record["leoflow"] === "blocked") {
      const { trigger, seconds, stack } = record as unknown as Blocked;
      this.#deps.blocked(trigger, seconds, stack);
      return;
    }
    const { timestamp, level, event, trigger_id, exception, ...rest } = record;
    const path = typeof trigger_id === "number" ? this.#logPaths.get(trigger_id) : undefined;
    const said = this.#masker.maskDeep({ event, ...rest, ...(exception ? { error_detail: exception } : {}) });
    if (path !== undefined) {
      const time = timestamp ?? formatInstant(this.#kit.clock.now());
      this.#deps.logs.add(path, `${JSON.stringify({ timestamp: time, level, ...(said as object) })}\n`);
    } else if (level === "info" || level === "debug") this.#kit.logger.debug({ said }, "triggers");
    else this.#kit.logger.warn({ said }, "triggers");
  }

  #readLines(socket: Socket, take: (line: string) => void): void {
    let held: Buffer = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      held = held.length > 0 ? Buffer.concat([held, chunk]) : chunk;
      let start = 0;
      for (let end = held.indexOf(10); end >= 0; end = held.indexOf(10, start)) {
        take(held.toString("utf8", start, end));
        start = end + 1;
      }
      held = held.subarray(start);
      if (held.length > MAX_LINE_BYTES) {
        take(held.toString("utf8"));
        held = Buffer.alloc(0);
      }
    });
    socket.on("error", () => socket.destroy());
    socket.resume();
  }
}

interface Blocked {
  trigger: number | null;
  seconds: number;
  stack: string[];
}

/** An event as leoflow_runtime/triggerer.py describes it. */
type WireEvent = { trigger_id: number; seq: number | null } & (
  | { kind: "resume"; next_kwargs: string }
  | { kind: "unresumable"; error: string; traceback: string[] }
  | { kind: "end"; state: TaskEndState; xcoms: Record<string, string> }
  | { kind: "event"; payload: string }
);

function reportOf(event: WireEvent): TriggerReport {
  const triggerId = event.trigger_id;
  switch (event.kind) {
    case "resume":
      return { kind: "resume", triggerId, nextKwargs: event.next_kwargs as JsonText };
    case "unresumable":
      return { kind: "failure", triggerId, error: event.error, traceback: event.traceback };
    case "end":
      return {
        kind: "end",
        triggerId,
        state: event.state,
        xcoms: new Map(Object.entries(event.xcoms) as [string, JsonText][]),
      };
    case "event":
      return { kind: "event", triggerId, payload: event.payload as JsonText };
  }
}

/** Airflow's RunTrigger, and the task's next_kwargs beside it. */
function workloadOf(trigger: RunTrigger): Record<string, unknown> {
  const { taskInstance: ti, startContext } = trigger;
  return {
    type: "RunTrigger",
    id: trigger.id,
    classpath: trigger.classpath,
    encrypted_kwargs: trigger.kwargs,
    ti: ti && {
      id: ti.id,
      task_id: ti.taskId,
      dag_id: ti.dagId,
      run_id: ti.runId,
      try_number: ti.tryNumber,
      dag_version_id: ti.dagVersionId,
      map_index: ti.mapIndex,
      hostname: ti.hostname,
      context_carrier: null,
      queue: ti.queue,
      pool_slots: ti.poolSlots,
      priority_weight: ti.priorityWeight,
    },
    timeout_after: ti?.timeoutAt ?? null,
    // Which the process has under the version's id.
    dag_data: startContext && {},
    dag_run_data: startContext?.dagRun ?? null,
    watched_assets: trigger.watchedAssets,
    next_kwargs: ti?.nextKwargs ?? null,
  };
}
