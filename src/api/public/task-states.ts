import { Type } from "typebox";
import type { FastifyRequest } from "fastify";
import { addMicros, formatInstant, type Instant } from "../../kit/instant.ts";
import {
  ExactNumber,
  ExactObject,
  exactStringify,
  parseExact,
  pythonDumps,
  type ExactJson,
} from "../../kit/exact-json.ts";
import type { JsonText } from "../../kit/json-text.ts";
import {
  findTaskStateEntry,
  listTaskStates,
  removeTaskStates,
  setTaskState,
  taskInstanceExists,
  type TaskStatePlace,
  type TaskStateRow,
} from "../../store/task-states.ts";
import { bodyText } from "../body.ts";
import type { ApiContext, TypedApp } from "../context.ts";
import { notFound } from "../errors.ts";
import { pageOf, pageQuery } from "../query.ts";
import { RawText, sendRaw } from "../raw-json.ts";
import { InstantText, nullable, strictObject, toAwareInstant, valueError } from "../schema.ts";
import { instantOrNull } from "../serialize.ts";

const STORE = "/dags/:dag_id/dagRuns/:dag_run_id/taskInstances/:task_id/state-store";
const taskParams = Type.Object({ dag_id: Type.String(), dag_run_id: Type.String(), task_id: Type.String() });
const keyParams = Type.Object({ ...taskParams.properties, "*": Type.String() });
const mapIndexQuery = { map_index: Type.Integer({ minimum: -1, default: -1 }) };
const setBody = strictObject({
  value: Type.Unknown(),
  expires_at: Type.Optional(nullable(Type.Union([Type.Literal("default"), InstantText]))),
});
const patchBody = strictObject({ value: Type.Unknown() });

/** Airflow's defaults of `[state_store]`. */
const RETENTION_DAYS = 30;
const MAX_VALUE_BYTES = 65_535;
const MICROS_PER_DAY = 86_400_000_000;

/** What a task instance keeps between its tries. Keys may hold slashes. */
export function taskStateRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;
  const user = { role: "USER" as const };
  const placeOf = (params: { dag_id: string; dag_run_id: string; task_id: string }, mapIndex: number) => ({
    dagId: params.dag_id,
    runId: params.dag_run_id,
    taskId: params.task_id,
    mapIndex,
  });

  app.get(
    STORE,
    { schema: { params: taskParams, querystring: Type.Object({ ...pageQuery, ...mapIndexQuery }) } },
    async ({ params, query }, reply) => {
      const { rows, total } = await listTaskStates(db, placeOf(params, query.map_index), pageOf(query));
      return sendRaw(reply, { task_state_store: rows.map(toEntry), total_entries: total });
    },
  );

  app.get(
    `${STORE}/*`,
    { schema: { params: keyParams, querystring: Type.Object(mapIndexQuery) } },
    async ({ params, query }, reply) => {
      const row = await findTaskStateEntry(db, placeOf(params, query.map_index), params["*"]);
      if (!row) throw missing(params["*"]);
      return sendRaw(reply, toEntry(row));
    },
  );

  app.put(
    `${STORE}/*`,
    { schema: { params: keyParams, querystring: Type.Object(mapIndexQuery), body: setBody }, config: user },
    async (request, reply) => {
      const { params, query, body } = request;
      const place = placeOf(params, query.map_index);
      const value = storedValue(request);
      const now = context.kit.clock.now();
      const expiresAt = expiry(body.expires_at, now);
      await requireTaskInstance(place);
      await setTaskState(db, place, { key: params["*"], value, expiresAt, now });
      return reply.code(204).send();
    },
  );

  app.patch(
    `${STORE}/*`,
    { schema: { params: keyParams, querystring: Type.Object(mapIndexQuery), body: patchBody }, config: user },
    async (request, reply) => {
      const { params, query } = request;
      const place = placeOf(params, query.map_index);
      const value = storedValue(request);
      await requireTaskInstance(place);
      if (!(await findTaskStateEntry(db, place, params["*"]))) throw missing(params["*"]);
      await setTaskState(db, place, { key: params["*"], value, now: context.kit.clock.now() });
      return sendRaw(reply, null);
    },
  );

  app.delete(
    `${STORE}/*`,
    { schema: { params: keyParams, querystring: Type.Object(mapIndexQuery) }, config: user },
    async ({ params, query }, reply) => {
      const place = placeOf(params, query.map_index);
      await requireTaskInstance(place);
      await removeTaskStates(db, place, params["*"]);
      return reply.code(204).send();
    },
  );

  const clearQuery = Type.Object({ ...mapIndexQuery, all_map_indices: Type.Boolean({ default: false }) });
  app.delete(
    STORE,
    { schema: { params: taskParams, querystring: clearQuery }, config: user },
    async ({ params, query }, reply) => {
      const place = { ...placeOf(params, query.map_index), ...(query.all_map_indices ? { mapIndex: null } : {}) };
      await requireTaskInstance(place);
      await removeTaskStates(db, place, null);
      return reply.code(204).send();
    },
  );

  async function requireTaskInstance(place: TaskStatePlace): Promise<void> {
    if (await taskInstanceExists(db, place)) return;
    const { dagId, runId, taskId, mapIndex } = place;
    const addressed = mapIndex === null ? "all_map_indices=True" : `map_index=${mapIndex}`;
    throw notFound(
      `Task instance not found for dag_id='${dagId}', run_id='${runId}', task_id='${taskId}', ${addressed}`,
    );
  }
}

const missing = (key: string) => notFound(`Task state store key '${key}' not found`);

function toEntry(row: TaskStateRow) {
  return {
    key: row.key,
    value: new RawText(row.value ?? ("null" as JsonText)),
    updated_at: formatInstant(row.updated_at),
    expires_at: instantOrNull(row.expires_at),
  };
}

function expiry(given: string | null | undefined, now: Instant): Instant | null {
  if (given === null) return null;
  if (given === undefined || given === "default") return addMicros(now, RETENTION_DAYS * MICROS_PER_DAY);
  return toAwareInstant(given, ["body", "expires_at"]);
}

/** The value of the body with its numbers as they were sent. */
export function storedValue(request: FastifyRequest): JsonText {
  const text = bodyText(request);
  const body = parseExact(text === "" ? JSON.stringify(request.body) : text);
  const value: ExactJson = body instanceof ExactObject ? (body.entries.get("value") ?? null) : null;
  const refuse = (problem: string): never => {
    throw valueError(["body", "value"], problem, (request.body as { value: unknown }).value);
  };
  if (value === null) refuse("value cannot be null");
  if (!isFinite(value)) refuse("value contains non-finite numbers; NaN and Inf are not JSON representable");
  if (pythonDumps(value).length > MAX_VALUE_BYTES) {
    refuse(
      `value exceeds max_value_storage_bytes (${MAX_VALUE_BYTES}); ` +
        "raise [state_store] max_value_storage_bytes or set it to 0 to disable the limit",
    );
  }
  return exactStringify(value) as JsonText;
}

function isFinite(value: ExactJson): boolean {
  if (value instanceof ExactNumber) return /^[-\d]+/.test(value.text) && !value.text.includes("I");
  if (Array.isArray(value)) return value.every(isFinite);
  return !(value instanceof ExactObject) || [...value.entries.values()].every(isFinite);
}
