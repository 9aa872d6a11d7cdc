import type { FastifyRequest } from "fastify";
import { parseExact, pythonDumps } from "../kit/exact-json.ts";
import { parseInstant, type Instant } from "../kit/instant.ts";
import { isSensitiveName } from "../kit/sensitive-names.ts";
import { audit } from "../store/audit.ts";
import type { Database } from "../store/database.ts";
import { bodyText } from "./body.ts";
import { userOf } from "./context.ts";

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

type Fields = Record<string, unknown>;

/**
 * A hook for routes that change something: `{ preValidation: audited(context.db, "patch_dag") }`, so that refused requests are
 * on record too.
 */
export function audited(db: Database, event: string) {
  const star = STARS.find(([word]) => event.includes(word))?.[1] ?? "key";
  return async (request: FastifyRequest): Promise<void> => {
    const body = bodyOf(request);
    if (body && DRY_RUN_EVENTS.has(event) && (body.dry_run ?? true) === true) return;
    const query: Fields = Object.fromEntries(new URLSearchParams(request.url.split("?")[1] ?? ""));
    const params = withStar((request.params ?? {}) as Fields, star);
    const known: Fields = { ...query, ...params, ...(body ?? {}) };
    await audit(db, {
      event,
      user: userOf(request).name,
      dagId: textOrNull(known.dag_id),
      taskId: textOrNull(known.task_id),
      runId: textOrNull(known.run_id) ?? textOrNull(known.dag_run_id),
      logicalDate: instantOrNull(query.logical_date),
      extra: pythonJson(extraOf(event, { ...query, ...params }, body, known, request.method)),
    });
  };
}

function extraOf(event: string, given: Fields, body: Fields | undefined, known: Fields, method: string): Fields {
  let extra: Fields = Object.fromEntries(
    Object.entries(given)
      .filter(([name]) => !NOT_IN_EXTRA.has(name))
      .map(([name, value]) => [name, redact(value, name)]),
  );
  if (event.includes("variable")) extra = maskEntities(body ?? extra, maskVariable);
  else if (event.includes("connection")) extra = maskEntities(body ?? extra, maskConnection);
  else if (body) extra = { ...extra, ...(redact(body) as Fields) };
  if ("is_paused" in known) extra.is_paused = known.is_paused;
  extra.method = method;
  return extra;
}

/** Hides values under names that sound secret, at any depth. */
export function redact(value: unknown, name = ""): unknown {
  if (value !== null && value !== "" && isSensitiveName(name)) return redactAll(value);
  if (Array.isArray(value)) return value.map((item) => redact(item));
  if (isFields(value)) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redact(item, key)]));
  }
  return value;
}

function redactAll(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(redactAll);
  if (isFields(value)) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redactAll(item)]));
  return "***";
}

/** The entities of a bulk body lie two levels down; a plain body is one entity. */
function maskEntities(body: Fields, mask: (entity: Fields) => Fields): Fields {
  if (!Array.isArray(body.actions)) return mask(body);
  const actions = body.actions.map((action: unknown) =>
    isFields(action) && Array.isArray(action.entities)
      ? { ...action, entities: action.entities.map((entity: unknown) => (isFields(entity) ? mask(entity) : entity)) }
      : action,
  );
  return { ...body, actions };
}

function maskVariable(entity: Fields): Fields {
  return Object.fromEntries(
    Object.entries(entity).map(([key, value]) => [key, key === "val" || key === "value" ? "***" : value]),
  );
}

function maskConnection(entity: Fields): Fields {
  return Object.fromEntries(
    Object.entries(entity).map(([key, value]) => [
      key,
      key === "extra" && value ? maskConnectionExtra(value) : redact(value, key),
    ]),
  );
}

function maskConnectionExtra(extra: unknown): unknown {
  try {
    const parsed: unknown = typeof extra === "string" ? JSON.parse(extra) : undefined;
    if (parsed === undefined) return "Encountered non-JSON in `extra` field";
    if (!isFields(parsed)) return "Expected JSON object in `extra` field, got non-dict JSON";
    return Object.fromEntries(Object.keys(parsed).map((key) => [key, "***"]));
  } catch {
    return "Encountered non-JSON in `extra` field";
  }
}

/** The body as it was sent: validation fills in defaults that nobody asked for. */
function bodyOf(request: FastifyRequest): Fields | undefined {
  const text = bodyText(request);
  if (text === "") return isFields(request.body) ? request.body : undefined;
  try {
    const body: unknown = JSON.parse(text);
    return isFields(body) ? body : undefined;
  } catch {
    return isFields(request.body) ? request.body : undefined;
  }
}

/** As Python's json.dumps writes it: people search these texts. */
function pythonJson(extra: Fields): string {
  return pythonDumps(parseExact(JSON.stringify(extra)));
}

// Greedy path parameters ({key:path} in Airflow) arrive as "*".
function withStar(params: Fields, name: string): Fields {
  const { "*": star, ...rest } = params;
  return star === undefined ? rest : { ...rest, [name]: star };
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function textOrNull(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

function instantOrNull(value: unknown): Instant | null {
  if (typeof value !== "string") return null;
  try {
    return parseInstant(value);
  } catch {
    return null;
  }
}
