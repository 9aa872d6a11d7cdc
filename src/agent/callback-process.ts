import type { Socket } from "node:net";
import { join } from "node:path";
import type { CallbackOutcome, DueCallback } from "../domain/callback.ts";
import type { Reply, ToSupervisor } from "../domain/task-execution.ts";
import type { Kit } from "../kit/service.ts";
import { delay } from "./delay.ts";
import { describeExit, type ForkedChild } from "./forked-child.ts";
import { serveRequests, whenClosed } from "./frames.ts";
import { maskAsAsked, maskWhatWasFetched } from "./reply-secrets.ts";
import { SecretMasker } from "./secret-masker.ts";
import { TaskLog } from "./task-log.ts";

export const CALLBACK_CONNECTIONS = ["requests", "logs", "result", "stdout", "stderr"] as const;

/** What a process that the callback left behind still says is not waited for. */
const DRAIN_MS = 250;
const LONGEST_RESULT = 1 << 20;

export interface CallbackProcessConfig {
  logsDir: string;
  /** Until the process has told how long it may take, and where Airflow sets no limit. */
  maxSeconds: number;
}

/** Supervises the process of one callback to its end, within its time. Never rejects. */
export async function superviseCallback(
  kit: Kit,
  deps: { fork(callback: DueCallback): Promise<ForkedChild>; handle(message: ToSupervisor): Promise<Reply> },
  config: CallbackProcessConfig,
  callback: DueCallback,
): Promise<CallbackOutcome> {
  let child: ForkedChild;
  try {
    child = await deps.fork(callback);
  } catch (error) {
    return { kind: "lost", reason: error instanceof Error ? error.message : String(error) };
  }
  const masker = new SecretMasker();
  const log = new TaskLog(kit, join(config.logsDir, callback.logPath), masker);
  const limit = new TimeLimit(child, config.maxSeconds);
  try {
    serveRequests(
      child.socket("requests"),
      async (message) => {
        if (message.type === "MaskSecret") {
          maskAsAsked(masker, message);
          return { body: null };
        }
        const reply = await deps.handle(message);
        maskWhatWasFetched(masker, message, reply);
        return reply;
      },
      () => undefined,
    );
    const output = Promise.all([
      log.pipeJson(child.socket("logs")),
      log.pipeText(child.socket("stdout"), "task.stdout"),
      log.pipeText(child.socket("stderr"), "task.stderr"),
    ]);
    const told: ResultLine = {};
    const result = readResult(child.socket("result"), (line) => {
      if (typeof line.seconds === "number" && line.seconds > 0) limit.set(line.seconds);
      if (line.errors) Object.assign(told, line);
    });
    for (const kind of CALLBACK_CONNECTIONS) child.socket(kind).resume();
    const exit = await child.exited;
    await Promise.race([Promise.all([output, result]), delay(DRAIN_MS)]);
    child.destroySockets();
    await output;
    if (told.errors) return { kind: "done", errors: told.errors, ...(told.value ? { value: told.value } : {}) };
    if (limit.isOver) {
      log.add("error", `The callback took longer than ${limit.seconds} s and was ended.`);
      return { kind: "timed-out", seconds: limit.seconds };
    }
    const reason = `the callback's process ended: ${describeExit(exit)}`;
    log.add("error", reason);
    return { kind: "lost", reason };
  } catch (error) {
    return { kind: "lost", reason: error instanceof Error ? error.message : String(error) };
  } finally {
    limit.clear();
    child.kill("SIGKILL");
    child.destroySockets();
    await log.close();
  }
}

interface ResultLine {
  seconds?: number;
  errors?: string[];
  value?: string | null;
}

async function readResult(socket: Socket, take: (line: ResultLine) => void): Promise<void> {
  let held = "";
  socket.setEncoding("utf8");
  socket.on("data", (chunk: string) => {
    const lines = (held + chunk).split("\n");
    held = (lines.pop() ?? "").slice(0, LONGEST_RESULT);
    for (const line of lines) {
      try {
        take(JSON.parse(line) as ResultLine);
      } catch {
        // User code found the socket; what it wrote there means nothing.
      }
    }
  });
  await whenClosed(socket);
}

/** Ends the process, and all it started, when its time is up. */
class TimeLimit {
  isOver = false;
  seconds: number;
  readonly #child: ForkedChild;
  readonly #since = performance.now();
  #timer: NodeJS.Timeout;

  constructor(child: ForkedChild, seconds: number) {
    this.#child = child;
    this.seconds = seconds;
    this.#timer = this.#start();
  }

  set(seconds: number): void {
    this.clear();
    this.seconds = seconds;
    this.#timer = this.#start();
  }

  clear(): void {
    clearTimeout(this.#timer);
  }

  #start(): NodeJS.Timeout {
    const left = this.seconds * 1000 - (performance.now() - this.#since);
    return setTimeout(
      () => {
        this.isOver = true;
        this.#child.kill("SIGKILL");
      },
      Math.min(left, 2 ** 31 - 1),
    );
  }
}
