import type { FileHandle } from "node:fs/promises";
import { resolve, sep } from "node:path";
import { Readable } from "node:stream";
import { Type, type Static } from "typebox";
import type { FastifyReply } from "fastify";
import { formatInstant, type Instant } from "../../kit/instant.ts";
import type { TaskInstanceState } from "../../domain/states.ts";
import { taskLogPath } from "../../domain/workload.ts";
import { findLoggedTry, type LoggedTry } from "../../store/logged-try.ts";
import type { ApiContext, TypedApp } from "../context.ts";
import { ApiError, badRequest, notFound } from "../errors.ts";
import { endOf, lineEndBefore, withLog, type Stretch } from "./log-file.ts";
import { mergedLines, planTriggerLogs, type FileStretch, type TriggerPositions } from "./trigger-logs.ts";

const MIB = 1024 * 1024;
/** One page of a log that is read with continuation tokens. */
const PAGE_BYTES = 4 * MIB;
/** Of a longer log a browser gets the beginning and the end: it asks once, takes no tokens, and wants to see the error. */
const SHOWN_HEAD_BYTES = 1 * MIB;
const SHOWN_TAIL_BYTES = 7 * MIB;
const CHUNK_CHARACTERS = 64 * 1024;

const logParams = Type.Object({
  dag_id: Type.String(),
  dag_run_id: Type.String(),
  task_id: Type.String(),
  try_number: Type.Integer({ minimum: 0 }),
});
const logQuery = Type.Object({
  full_content: Type.Boolean({ default: false }),
  map_index: Type.Integer({ default: -1 }),
  token: Type.Optional(Type.String()),
});
const externalParams = Type.Object({ ...logParams.properties, try_number: Type.Integer({ exclusiveMinimum: 0 }) });

/** What a continuation token holds: how far the log was read, and whether all of it was asked for. */
interface Progress {
  log_pos?: number;
  /** The same of the logs that the try's triggers wrote. */
  trigger_pos?: TriggerPositions;
  download_logs: boolean;
}

/** A part of the answer: events of our own, or lines of files in the order of time. */
type Part = { kind: "events"; events: LogEvent[] } | { kind: "lines"; files: FileStretch[] };

interface LogEvent {
  timestamp?: string | null;
  event: string;
  [field: string]: unknown;
}

interface Answer {
  parts: Part[];
  /** Where to go on; null at the end of the log. */
  next: Progress | null;
}

/** Logs of task instances, as JSON pages or as a stream of JSON lines. */
export function taskInstanceLogRoutes(app: TypedApp, context: ApiContext): void {
  app.get(
    "/dags/:dag_id/dagRuns/:dag_run_id/taskInstances/:task_id/logs/:try_number",
    { schema: { params: logParams, querystring: logQuery } },
    async (request, reply) => {
      const { params, query } = request;
      const format = formatOf(request.headers.accept);
      const progress = readToken(context, query.token, query.full_content);
      const found = await findLoggedTry(context.db, {
        dagId: params.dag_id,
        runId: params.dag_run_id,
        taskId: params.task_id,
        mapIndex: query.map_index,
        tryNumber: params.try_number,
      });
      if (!found) throw notFound("TaskInstance not found");
      const answer = await answerOf(context, { params, mapIndex: query.map_index, found, progress, format });
      const token = answer.next ? context.secrets.encrypt(JSON.stringify(answer.next)) : null;
      return format === "ndjson" ? sendNdjson(reply, answer, token) : sendJson(reply, answer, token);
    },
  );

  app.get(
    "/dags/:dag_id/dagRuns/:dag_run_id/taskInstances/:task_id/externalLogUrl/:try_number",
    { schema: { params: externalParams, querystring: Type.Object({ map_index: Type.Integer({ default: -1 }) }) } },
    () => {
      throw badRequest("Task log handler does not support external logs.");
    },
  );
}

function formatOf(accept: string | undefined): "json" | "ndjson" {
  const wanted = accept ?? "*/*";
  if (wanted.startsWith("*/*") || wanted.startsWith("application/json")) return "json";
  if (wanted.startsWith("application/x-ndjson")) return "ndjson";
  throw new ApiError(406, "Only application/json or application/x-ndjson is supported");
}

function readToken(context: ApiContext, token: string | undefined, fullContent: boolean): Progress {
  if (!token) return { download_logs: fullContent };
  try {
    const progress = JSON.parse(context.secrets.decrypt(token)) as Progress;
    return { ...progress, download_logs: progress.download_logs || fullContent };
  } catch {
    throw badRequest("Bad Signature. Please use only the tokens provided by the API.");
  }
}

const WRITING: readonly (TaskInstanceState | null)[] = ["running", "restarting", "deferred"];

async function answerOf(
  context: ApiContext,
  given: {
    params: Static<typeof logParams>;
    mapIndex: number;
    found: LoggedTry;
    progress: Progress;
    format: "json" | "ndjson";
  },
): Promise<Answer> {
  const { params, mapIndex, found, progress, format } = given;
  if (params.try_number === 0) return { parts: [noLogs(found, context.kit.clock.now())], next: null };
  const path = logPath(context, params, mapIndex);
  const growing = found.live && WRITING.includes(found.state);
  const start = progress.log_pos;
  const plan = await withLog(path, async (handle) =>
    planOf(handle, {
      start: start ?? 0,
      end: await endOf(handle, growing),
      whole: progress.download_logs,
      forBrowser: format === "ndjson" && start === undefined,
    }),
  );
  const triggers = await planTriggerLogs(path, {
    positions: progress.trigger_pos ?? {},
    growing,
    most: progress.download_logs ? Infinity : PAGE_BYTES,
  });
  const sources = start === undefined ? [sourceDetails([...(plan ? [path] : []), ...triggers.paths])] : [];
  const next = { ...progress, log_pos: plan?.to ?? start ?? 0, trigger_pos: triggers.positions };
  const goesOn = growing || (plan?.more ?? false) || (triggers.more && format === "json");
  const stretches = plan?.stretches ?? [];
  // Where the middle is left out, triggers are shown with the end.
  const [tail, head] = stretches.map((stretch) => [{ path, stretch }]).reverse();
  const last: Part = { kind: "lines", files: [...(tail ?? []), ...triggers.stretches] };
  const isEmpty = !plan && triggers.paths.length === 0 && !growing && start === undefined;
  return {
    parts: [
      ...sources,
      ...(head ? [{ kind: "lines", files: head } as const, events(leftOut(stretches, path))] : []),
      isEmpty ? events("No logs available for this task.") : last,
    ],
    next: goesOn ? next : null,
  };
}

interface Plan {
  stretches: Stretch[];
  /** Where the next answer begins. */
  to: number;
  more: boolean;
}

/** Which lines an answer holds. */
async function planOf(
  handle: FileHandle,
  log: { start: number; end: number; whole: boolean; forBrowser: boolean },
): Promise<Plan> {
  const { end } = log;
  const from = Math.min(log.start, end);
  const most = log.whole ? Infinity : log.forBrowser ? SHOWN_HEAD_BYTES + SHOWN_TAIL_BYTES : PAGE_BYTES;
  if (end - from <= most) return { stretches: [{ from, to: end }], to: end, more: false };
  // A line that is longer than anybody would show is cut where the page ends.
  const lineStart = async (at: number): Promise<number> => {
    const least = Math.max(from, at - MIB);
    const found = await lineEndBefore(handle, at, least);
    return found > least ? found : at;
  };
  if (!log.forBrowser) {
    const to = await lineStart(from + PAGE_BYTES);
    return { stretches: [{ from, to }], to, more: true };
  }
  const head = { from, to: await lineStart(from + SHOWN_HEAD_BYTES) };
  return { stretches: [head, { from: await lineStart(end - SHOWN_TAIL_BYTES), to: end }], to: end, more: false };
}

function leftOut(stretches: readonly Stretch[], path: string): string {
  const bytes = (stretches[1]?.from ?? 0) - (stretches[0]?.to ?? 0);
  const size = (bytes / MIB).toFixed(1);
  return `… ${size} MiB of this log are left out here. All of it is in ${path}, and at this address with ?full_content=true`;
}

/** The file of a try; never outside the logs folder, whatever the ids are. */
function logPath(context: ApiContext, params: Static<typeof logParams>, mapIndex: number): string {
  const { dag_id: dagId, dag_run_id: runId, task_id: taskId, try_number: tryNumber } = params;
  const root = resolve(context.logsDir);
  const path = resolve(root, taskLogPath({ dagId, runId, taskId, mapIndex }, tryNumber));
  if (!path.startsWith(root + sep)) throw notFound("TaskInstance not found");
  return path;
}

function events(...texts: string[]): Part {
  return { kind: "events", events: texts.map((event) => ({ event })) };
}

function sourceDetails(sources: readonly string[]): Part {
  return events("::group::Log message source details", ...sources, "::endgroup::");
}

/** A task that never started has no log; why is told instead. */
function noLogs(found: LoggedTry, now: Instant): Part {
  const reasons: Partial<Record<TaskInstanceState, string>> = {
    skipped: "Task was skipped — no logs available.",
    upstream_failed: "Task did not run because upstream task(s) failed.",
  };
  const event = (found.state && reasons[found.state]) ?? "No logs available for this task.";
  const details = sourceDetails([]);
  if (details.kind !== "events") return details;
  return {
    kind: "events",
    events: [...details.events, { timestamp: formatInstant(found.updated_at ?? now), event }],
  };
}

/** How an answer is written around its events. */
interface Frame {
  before: string;
  between: string;
  after: string;
  /** What an event of our own without a time has: in JSON lines Airflow writes a null, in pages nothing. */
  untimed: null | undefined;
}

function sendNdjson(reply: FastifyReply, answer: Answer, token: string | null): FastifyReply {
  if (token) reply.header("Airflow-Continuation-Token", token);
  const frame = { before: "", between: "\n", after: "\n", untimed: null };
  return reply.type("application/x-ndjson").send(streamOf(answer, frame));
}

function sendJson(reply: FastifyReply, answer: Answer, token: string | null): FastifyReply {
  const after = `],"continuation_token":${JSON.stringify(token)}}`;
  const frame = { before: '{"content":[', between: ",", after, untimed: undefined };
  return reply.type("application/json").send(streamOf(answer, frame));
}

/** The answer in chunks worth a write each. */
function streamOf(answer: Answer, frame: Frame): Readable {
  async function* chunks(): AsyncGenerator<string> {
    let chunk = frame.before;
    let first = true;
    for await (const event of eventsOf(answer, frame.untimed)) {
      chunk += first ? event : frame.between + event;
      first = false;
      if (chunk.length < CHUNK_CHARACTERS) continue;
      yield chunk;
      chunk = "";
    }
    yield first && frame.before === "" ? "" : chunk + frame.after;
  }
  return Readable.from(chunks(), { objectMode: false });
}

/** Every event of the answer as the text of a JSON object. */
async function* eventsOf(answer: Answer, untimed: null | undefined): AsyncGenerator<string> {
  const written = (event: LogEvent): string => JSON.stringify({ timestamp: untimed, ...event });
  for (const part of answer.parts) {
    if (part.kind === "events") yield* part.events.map(written);
    else {
      for await (const line of mergedLines(part.files)) {
        if (line !== "") yield isEvent(line) ? line : written({ event: line });
      }
    }
  }
}

/** Whether the supervisor wrote this line; else it is a crash's last words, or a line that was cut. */
function isEvent(line: string): boolean {
  if (!line.startsWith("{")) return false;
  try {
    return typeof (JSON.parse(line) as { event?: unknown }).event === "string";
  } catch {
    return false;
  }
}
