import type { FastifyRequest } from "fastify";
import { ExactObject, pythonDumps, type ExactJson } from "../kit/exact-json.ts";
import { parseInstant, type Instant } from "../kit/instant.ts";
import { audit } from "../store/audit.ts";
import type { Database } from "../store/database.ts";
import { bodyText } from "./body.ts";
import { userOf } from "./context.ts";
import { parseOrNull, redact } from "./secrets.ts";

/**
 * The audit row of a request, as Airflow's `action_logging` writes it: before the handler runs, whether it succeeds or not,
 * with the request's parameters and body as `extra` and everything secret masked.
 */

const NOT_IN_EXTRA = new Set([
  "csrf_token",
  "_csrf_token",
  "is_paused",
  "dag_id",
  "task_id",
  "dag_run_id",
  "run_id",
  "logical_date",
]);
const DRY_RUN_EVENTS = new Set(["clear_dag_run", "post_clear_task_instances"]);

/** Airflow's names for greedy path parameters, by what the event is about. */
const STARS = [
  ["variable", "variable_key"],
  ["xcom", "xcom_key"],
  ["pool", "pool_name"],
] as const;

type Fields = ReadonlyMap<string, ExactJson>;

/**
 * A hook for routes that change something: `{ preValidation: audited(context.db, "patch_dag") }`, so that refused requests are
 * on record too.
 */
export function audited(db: Database, event: string) {
  const star = STARS.find(([word]) => event.includes(word))?.[1] ?? "key";
  return async (request: FastifyRequest): Promise<void> => {
    const body = bodyOf(request);
    if (body && DRY_RUN_EVENTS.has(event) && (body.get("dry_run") ?? true) === true) return;
    const query = new URLSearchParams(request.url.split("?")[1] ?? "");
    const given: Fields = new Map<string, ExactJson>([...query, ...paramsOf(request, star)]);
    const known: Fields = new Map([...given, ...(body ?? [])]);
    await audit(db, {
      event,
      user: userOf(request).name,
      dagId: textOrNull(known.get("dag_id")),
      taskId: textOrNull(known.get("task_id")),
      runId: textOrNull(known.get("run_id")) ?? textOrNull(known.get("dag_run_id")),
      logicalDate: instantOrNull(query.getAll("logical_date").at(-1)),
      extra: pythonDumps(new ExactObject(extraOf(event, given, body, known, request.method))),
    });
  };
}

function extraOf(event: string, given: Fields, body: Fields | undefined, known: Fields, method: string): Fields {
  const shown = changed(new Map([...given].filter(([name]) => !NOT_IN_EXTRA.has(name))), redact);
  const extra = new Map(
    event.includes("variable")
      ? maskEntities(body ?? shown, maskVariable)
      : event.includes("connection")
        ? maskEntities(body ?? shown, maskConnection)
        : [...shown, ...changed(body ?? new Map(), redact)],
  );
  const isPaused = known.get("is_paused");
  if (isPaused !== undefined) extra.set("is_paused", isPaused);
  return extra.set("method", method);
}

/** The entities of a bulk body lie two levels down; a plain body is one entity. */
function maskEntities(body: Fields, mask: (value: ExactJson, name: string) => ExactJson): Fields {
  const actions = body.get("actions");
  if (!Array.isArray(actions)) return changed(body, mask);
  const entity = (value: ExactJson) => changedObject(value, (fields) => changed(fields, mask));
  const action = (value: ExactJson) =>
    changedObject(value, (fields) =>
      changed(fields, (item, name) => (name === "entities" && Array.isArray(item) ? item.map(entity) : item)),
    );
  return new Map([...body, ["actions", actions.map(action)]]);
}

function maskVariable(value: ExactJson, name: string): ExactJson {
  return name === "val" || name === "value" ? "***" : value;
}

function maskConnection(value: ExactJson, name: string): ExactJson {
  if (name !== "extra" || value === null || value === "") return redact(value, name);
  const parsed = typeof value === "string" ? parseOrNull(value) : undefined;
  if (parsed === undefined) return "Encountered non-JSON in `extra` field";
  if (!(parsed instanceof ExactObject)) return "Expected JSON object in `extra` field, got non-dict JSON";
  return new ExactObject(changed(parsed.entries, () => "***"));
}

function changed(fields: Fields, change: (value: ExactJson, name: string) => ExactJson): Fields {
  return new Map([...fields].map(([name, value]) => [name, change(value, name)]));
}

function changedObject(value: ExactJson, change: (fields: Fields) => Fields): ExactJson {
  return value instanceof ExactObject ? new ExactObject(change(value.entries)) : value;
}

/** The body as it was sent: validation fills in defaults that nobody asked for. One that is no object has no fields. */
function bodyOf(request: FastifyRequest): Fields | undefined {
  const text = bodyText(request);
  if (text === "") return undefined;
  const body = parseOrNull(text);
  return body instanceof ExactObject ? body.entries : new Map();
}

// Greedy path parameters ({key:path} in Airflow) arrive as "*".
function paramsOf(request: FastifyRequest, star: string): [string, string][] {
  return Object.entries(request.params as Record<string, string>).map(([name, value]) => [
    name === "*" ? star : name,
    value,
  ]);
}

function textOrNull(value: ExactJson | undefined): string | null {
  return typeof value === "string" ? value : null;
}

function instantOrNull(value: string | undefined): Instant | null {
  if (value === undefined) return null;
  try {
    return parseInstant(value);
  } catch {
    return null;
  }
}
