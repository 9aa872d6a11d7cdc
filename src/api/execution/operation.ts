import type { TSchema } from "typebox";
import { ExactNumber, ExactObject, exactStringify, parseExact } from "../../kit/exact-json.ts";
import { RawJson, type JsonText } from "../../kit/json-text.ts";
import type { Reply, ToSupervisor } from "../../domain/task-execution.ts";
import type { Answer, Refused } from "../../execution/answer.ts";
import type { ExecutionContext } from "../../execution/context.ts";
import { withDatabase } from "../../execution/database-retry.ts";
import { MessageFieldError, MessageFields } from "../../execution/message-fields.ts";
import { MESSAGES } from "../../execution/task-execution.ts";
import { ApiError } from "../errors.ts";

/** One operation of the Task Execution API: `name` is "GET /dags/{dag_id}", as in Airflow's OpenAPI document. */
export interface Operation {
  name: string;
  method: string;
  pattern: RegExp;
  /** Who may call it; "self": the token must be that of the task instance (or connection test) in the path. */
  access: Access;
  query: TSchema | null;
  /** A union's branch is chosen by what the body says. */
  body: TSchema | ((body: unknown) => TSchema) | null;
  run: (x: ExecutionContext, call: Call) => Promise<HttpAnswer>;
}

interface Access {
  tokens: readonly string[];
  self?: "task_instance_id" | "connection_test_id";
}

export interface Call {
  /** The task instance whose token this is. */
  callerId: string;
  /** Under which agent token its task was handed out. */
  workerId: string | null;
  path: Readonly<Record<string, string>>;
  query: Readonly<Record<string, unknown>>;
  /** As the operation's schema checked it. */
  body: unknown;
  /** As it was sent. */
  bodyText: JsonText;
}

export interface HttpAnswer {
  status: number;
  /** May hold RawJson; absent: no body. */
  body?: unknown;
  headers?: Readonly<Record<string, string>>;
  /** A workload token has done its work: the caller gets an execution token. */
  exchanges?: boolean;
}

const EXECUTION: Access = { tokens: ["execution"] };
export const NO_TOKEN: Access = { tokens: [] };
export const OWN_TASK: Access = { ...EXECUTION, self: "task_instance_id" };

/** Path parameters are "{name}", those that may hold slashes "{name:path}". */
export function operation(
  signature: string,
  run: Operation["run"],
  more: { access?: Access; query?: TSchema; body?: Operation["body"] } = {},
): Operation {
  const [method = "", path = ""] = signature.split(" ");
  const pattern = path.replace(/\{(\w+)(:path)?\}/g, (_found, name: string, long?: string) =>
    long ? `(?<${name}>.+)` : `(?<${name}>[^/]+)`,
  );
  const { access = EXECUTION, query = null, body = null } = more;
  const name = `${method} ${path.replaceAll(":path}", "}")}`;
  return { name, method, pattern: new RegExp(`^${pattern}$`, "s"), access, query, body, run };
}

/** What an answer of src/execution is over HTTP. */
export function httpAnswer<T>(answer: Answer<T>, ok: (value: T) => HttpAnswer): HttpAnswer {
  return answer.kind === "ok" ? ok(answer.value) : refusal(answer);
}

export function refusal({ status, detail }: Refused): HttpAnswer {
  return { status, body: { detail } };
}

export const NO_CONTENT: HttpAnswer = { status: 204 };

export function text(call: Call, name: string): string {
  return call.path[name] ?? "";
}

/**
 * The message that the SDK's supervisor would make of this request the other way round: its fields are what the path, the
 * query and the body hold. Numbers, lists and objects of the body stay as they were written.
 */
export function messageOf(call: Call, type: string, more: Record<string, unknown> = {}): ToSupervisor {
  return { ...exactFields(call), ...call.query, ...call.path, ...more, type };
}

function exactFields({ body, bodyText }: Call): Record<string, unknown> {
  if (typeof body !== "object" || body === null || Array.isArray(body)) return {};
  const checked = body as Record<string, unknown>;
  const sent = parseExact(bodyText);
  const entries = sent instanceof ExactObject ? sent.entries : new Map<string, never>();
  const exact = [...entries].flatMap(([name, value]): [string, unknown][] => {
    const isData = value instanceof ExactNumber || (typeof value === "object" && value !== null);
    return isData ? [[name, new RawJson(exactStringify(value) as JsonText)]] : [];
  });
  return { ...checked, ...Object.fromEntries(exact) };
}

/** Runs what reads a message, with what a task's own message would be refused for. */
export async function withMessage<T>(
  x: ExecutionContext,
  message: ToSupervisor,
  work: (fields: MessageFields) => Promise<T> | T,
): Promise<T> {
  try {
    return await withDatabase(x, async () => work(new MessageFields(message)));
  } catch (error) {
    if (error instanceof MessageFieldError)
      throw new ApiError(422, { reason: "invalid_message", message: error.message });
    throw error;
  }
}

type Body = Record<string, unknown>;

/**
 * Answers with what the task's message of this type is answered with. `ok` makes the answer of the reply's body, which is
 * the body without its `type` where it is left out.
 */
export function asMessage(
  type: string,
  options: { fields?: (call: Call) => Body; ok?: (body: Body, call: Call) => HttpAnswer } = {},
): Operation["run"] {
  const handler = MESSAGES[type];
  if (!handler) throw new Error(`no message ${type}`);
  const { fields = () => ({}), ok = (body) => ({ status: 200, body }) } = options;
  return async (x, call) => {
    const message = messageOf(call, type, fields(call));
    const reply = await withMessage(x, message, (read) => handler(x, call.callerId, read));
    if ("error" in reply) return errorAnswer(reply.error);
    const { type: answered, ...body } = reply.body ?? {};
    return answered === "ErrorResponse" ? notFoundAnswer(body, message) : ok(body, call);
  };
}

/** `execution/answer.ts` words a refusal as the SDK's supervisor words it to a task; this is the answer it was made of. */
function errorAnswer(error: Extract<Reply, { error: unknown }>["error"]): HttpAnswer {
  const { status_code: status, message, detail } = error["detail"] as { status_code: number | null } & Body;
  return { status: status ?? 500, body: detail ?? { detail: message } };
}

type Said = Readonly<Record<string, string | undefined>>;

const NOT_FOUND: Readonly<Record<string, (message: Said) => string>> = {
  VARIABLE_NOT_FOUND: ({ key }) => `Variable with key '${key}' not found`,
  CONNECTION_NOT_FOUND: ({ conn_id }) => `Connection with ID ${conn_id} not found`,
  ASSET_NOT_FOUND: ({ name, uri }) => `Asset with ${name === undefined ? `URI ${uri}` : `name ${name}`} not found`,
  TASK_STORE_NOT_FOUND: ({ key }) => `Task state store key '${key}' not found`,
  ASSET_STORE_NOT_FOUND: ({ key }) => `Asset state store key '${key}' not found`,
};

function notFoundAnswer(body: Body, { type: _type, ...message }: ToSupervisor): HttpAnswer {
  const said = message as Said;
  if (body["error"] === "DAGRUN_ALREADY_EXISTS") {
    const words = `A run already exists for Dag '${said["dag_id"]}' with run_id '${said["run_id"]}'`;
    return { status: 409, body: { detail: { reason: "already_exists", message: words } } };
  }
  const words = NOT_FOUND[String(body["error"])]?.(said) ?? "Not found";
  return { status: 404, body: { detail: { reason: "not_found", message: words } } };
}
