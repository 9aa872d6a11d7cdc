import { Type, type TSchema } from "typebox";
import { RawJson } from "../../kit/json-text.ts";
import type { Instant } from "../../kit/instant.ts";
import { TASK_INSTANCE_STATES, type TaskInstanceState } from "../../domain/states.ts";
import { withDatabase } from "../../execution/database-retry.ts";
import { getPreviousSuccessfulDagRun } from "../../execution/dag-run.ts";
import { heartbeat, startTask } from "../../execution/start.ts";
import { notLive, stateChanges } from "../../execution/state.ts";
import {
  getPreviousTaskInstance,
  getRescheduleStart,
  getTaskInstanceCount,
  getTaskStates,
  setRenderedFields,
  type TaskInstanceQuery,
} from "../../execution/task-instance.ts";
import { whereabouts } from "../../store/execution-liveness.ts";
import { isRecord } from "../validation.ts";
import { enumOf, InstantText, JsonObject, nullable, strictObject, toInstant } from "../schema.ts";
import {
  asMessage,
  httpAnswer,
  messageOf,
  NO_CONTENT,
  operation,
  OWN_TASK,
  refusal,
  text,
  withMessage,
  type Call,
  type Operation,
} from "./operation.ts";

const own = { access: OWN_TASK };
const idOf = (call: Call) => text(call, "task_instance_id");

const optionalText = Type.Optional(nullable(Type.String()));
const rendered = { rendered_map_index: optionalText };
const resuming = { next_method: Type.String(), next_kwargs: Type.Optional(JsonObject), ...rendered };

const EnterRunning = strictObject({
  state: enumOf(["running"]),
  hostname: Type.String(),
  unixname: Type.String(),
  pid: Type.Integer(),
  start_date: InstantText,
});

const run: Operation["run"] = (x, call) =>
  withMessage(x, messageOf(call, "TIEnterRunningPayload"), async (fields) => {
    const answer = await startTask(x, idOf(call), {
      hostname: fields.text("hostname"),
      unixname: fields.text("unixname"),
      pid: fields.integer("pid"),
      startDate: fields.instant("start_date"),
      ...(call.workerId === null ? {} : { workerId: call.workerId }),
    });
    if (answer.kind === "started") return { status: 200, body: new RawJson(answer.context), exchanges: true };
    if (answer.reason === "not_found") return refusal(notLive(false));
    const message = "TI was not in a state where it could be marked as running";
    const detail = { reason: answer.reason, message, previous_state: answer.previousState };
    return { status: 409, body: { detail } };
  });

const AssetProfile = strictObject({ name: optionalText, uri: optionalText, type: Type.String() });
const end = { end_date: InstantText, ...rendered };

/** What a report of a state holds, and the change that it asks for (`TIStateUpdate`). */
const REPORTS: Readonly<Record<string, { change: keyof typeof stateChanges; fields: Record<string, TSchema> }>> = {
  success: {
    change: "SucceedTask",
    fields: {
      ...end,
      task_outlets: Type.Optional(Type.Array(AssetProfile)),
      outlet_events: Type.Optional(Type.Array(JsonObject)),
    },
  },
  ...Object.fromEntries(
    ["failed", "skipped", "removed", "upstream_failed"].map((state) => [state, { change: "EndTask", fields: end }]),
  ),
  deferred: {
    change: "DeferTask",
    fields: {
      classpath: Type.String(),
      trigger_kwargs: Type.Optional(Type.Union([JsonObject, Type.String()])),
      trigger_timeout: Type.Optional(nullable(Type.Union([Type.String(), Type.Number()]))),
      queue: optionalText,
      ...resuming,
    },
  },
  up_for_reschedule: { change: "RescheduleTask", fields: { reschedule_date: InstantText, end_date: InstantText } },
  awaiting_input: {
    change: "AwaitInputTask",
    fields: { timeout: Type.Optional(nullable(Type.Union([Type.String(), Type.Number()]))), ...resuming },
  },
  up_for_retry: {
    change: "RetryTask",
    fields: {
      ...end,
      retry_delay_seconds: Type.Optional(nullable(Type.Number())),
      retry_reason: optionalText,
    },
  },
};

const stateOf = (body: unknown) => (isRecord(body) ? String(body["state"]) : "");

const setState: Operation["run"] = (x, call) => {
  const change = stateChanges[REPORTS[stateOf(call.body)]?.change ?? "EndTask"];
  return withMessage(x, messageOf(call, "TIStateUpdate"), async (fields) =>
    httpAnswer(await change(x, idOf(call), fields), (done) => (done === "changed" ? NO_CONTENT : { status: 200 })),
  );
};

const beat: Operation["run"] = async (x, call) => {
  const id = idOf(call);
  const worker = call.body as { hostname: string; pid: number };
  const answer = await withDatabase(x, () => heartbeat(x, id, worker));
  switch (answer) {
    case "alive":
      return NO_CONTENT;
    case "gone":
    case "not_found":
      return refusal(notLive(answer === "gone"));
    case "running_elsewhere":
    case "not_running": {
      const { hostname, pid, state } = await whereabouts(x.deps.database.pool, id);
      const elsewhere = { message: "TI is already running elsewhere", current_hostname: hostname, current_pid: pid };
      const message = "TI is no longer in the running state and task should terminate";
      const detail = { reason: answer, ...(answer === "not_running" ? { message, current_state: state } : elsewhere) };
      return { status: 409, body: { detail } };
    }
  }
};

const renderedFields: Operation["run"] = async (x, call) =>
  httpAnswer(await withDatabase(x, () => setRenderedFields(x, idOf(call), call.bodyText)), () => ({
    status: 201,
    body: { message: "Rendered task instance fields successfully set" },
  }));

const noInterval = { data_interval_start: null, data_interval_end: null, start_date: null, end_date: null };

const texts = Type.Optional(Type.Array(Type.String()));
const Filter = {
  dag_id: Type.String(),
  map_index: Type.Optional(Type.Integer()),
  task_ids: texts,
  task_group_id: Type.Optional(Type.String()),
  logical_dates: Type.Optional(Type.Array(InstantText)),
  run_ids: texts,
};

interface FilterQuery {
  dag_id: string;
  map_index?: number;
  task_ids?: string[];
  task_group_id?: string;
  logical_dates?: string[];
  run_ids?: string[];
  states?: string[];
}

function filterOf(call: Call): TaskInstanceQuery & { states: string[] | null } {
  const query = call.query as unknown as FilterQuery;
  return {
    dagId: query.dag_id,
    taskIds: query.task_ids ?? null,
    mapIndex: query.map_index ?? null,
    logicalDates: query.logical_dates?.map((text, at) => toInstant(text, ["query", "logical_dates", at])) ?? null,
    runIds: query.run_ids ?? null,
    groupId: query.task_group_id ?? null,
    states: query.states ?? null,
  };
}

const previous: Operation["run"] = async (x, call) => {
  const query = call.query as { logical_date?: string; map_index: number; state?: TaskInstanceState };
  const before: Instant | null =
    query.logical_date === undefined ? null : toInstant(query.logical_date, ["query", "logical_date"]);
  const found = await withDatabase(x, () =>
    getPreviousTaskInstance(x, {
      dagId: text(call, "dag_id"),
      taskId: text(call, "task_id"),
      mapIndex: query.map_index,
      before,
      state: query.state ?? null,
    }),
  );
  return { status: 200, body: found };
};

export const taskInstanceOperations: readonly Operation[] = [
  operation("PATCH /task-instances/{task_instance_id}/run", run, {
    access: { ...OWN_TASK, tokens: ["execution", "workload"] },
    body: EnterRunning,
  }),
  operation("PATCH /task-instances/{task_instance_id}/state", setState, {
    ...own,
    body: (body) => {
      const report = REPORTS[stateOf(body)];
      return strictObject({ state: enumOf(Object.keys(REPORTS)), ...report?.fields });
    },
  }),
  operation(
    "PATCH /task-instances/{task_instance_id}/skip-downstream",
    asMessage("SkipDownstreamTasks", { ok: () => NO_CONTENT }),
    {
      ...own,
      body: strictObject({
        tasks: Type.Array(Type.Union([Type.String(), Type.Array(Type.Unknown(), { minItems: 2, maxItems: 2 })])),
      }),
    },
  ),
  operation("PUT /task-instances/{task_instance_id}/heartbeat", beat, {
    ...own,
    body: strictObject({ hostname: Type.String(), pid: Type.Integer() }),
  }),
  operation("PUT /task-instances/{task_instance_id}/rtif", renderedFields, { ...own, body: JsonObject }),
  operation(
    "PATCH /task-instances/{task_instance_id}/rendered-map-index",
    asMessage("SetRenderedMapIndex", {
      fields: ({ body }) => ({ rendered_map_index: body }),
      ok: () => NO_CONTENT,
    }),
    { ...own, body: Type.String() },
  ),
  operation(
    "GET /task-instances/{task_instance_id}/previous-successful-dagrun",
    async (x, call) => {
      const found = await withDatabase(x, () => getPreviousSuccessfulDagRun(x, idOf(call)));
      return { status: 200, body: { ...noInterval, ...found } };
    },
    own,
  ),
  operation(
    "GET /task-instances/{task_instance_id}/validate-inlets-and-outlets",
    asMessage("ValidateInletsAndOutlets"),
    own,
  ),
  operation(
    "GET /task-instances/count",
    async (x, call) => {
      const { states, ...query } = filterOf(call);
      const answer = await withDatabase(x, () => getTaskInstanceCount(x, query, states));
      return httpAnswer(answer, (body) => ({ status: 200, body }));
    },
    { query: Type.Object({ ...Filter, states: texts }) },
  ),
  operation("GET /task-instances/previous/{dag_id}/{task_id}", previous, {
    query: Type.Object({
      logical_date: Type.Optional(InstantText),
      map_index: Type.Integer({ default: -1 }),
      state: Type.Optional(enumOf(TASK_INSTANCE_STATES)),
    }),
  }),
  operation(
    "GET /task-instances/states",
    async (x, call) => {
      const answer = await withDatabase(x, () => getTaskStates(x, filterOf(call)));
      return httpAnswer(answer, (states) => ({ status: 200, body: { task_states: states } }));
    },
    { query: Type.Object(Filter) },
  ),
  operation("GET /task-instances/breadcrumbs", asMessage("GetTaskBreadcrumbs"), {
    query: Type.Object({ dag_id: Type.String(), run_id: Type.String() }),
  }),
  operation(
    "GET /task-reschedules/{task_instance_id}/start_date",
    async (x, call) => ({ status: 200, body: await withDatabase(x, () => getRescheduleStart(x, idOf(call))) }),
    own,
  ),
];
