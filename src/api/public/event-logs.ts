import { Type } from "typebox";
import { formatInstant } from "../../kit/instant.ts";
import { EVENT_LOG_ORDER, findEventLog, listEventLogs, type EventLogRow } from "../../store/query-catalog.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { badRequest, notFound } from "../errors.ts";
import { orderByQuery, orderOf, pageOf, pageQuery, patternQuery, patternsOf } from "../query.ts";
import { InstantText, toInstant } from "../schema.ts";
import { instantOrNull } from "../serialize.ts";

const listQuery = Type.Object({
  ...pageQuery,
  ...orderByQuery,
  dag_id: Type.Optional(Type.String()),
  task_id: Type.Optional(Type.String()),
  run_id: Type.Optional(Type.String()),
  map_index: Type.Optional(Type.Integer()),
  try_number: Type.Optional(Type.Integer()),
  owner: Type.Optional(Type.String()),
  event: Type.Optional(Type.String()),
  excluded_events: Type.Optional(Type.Array(Type.String())),
  included_events: Type.Optional(Type.Array(Type.String())),
  before: Type.Optional(InstantText),
  after: Type.Optional(InstantText),
  ...patternQuery("dag_id"),
  ...patternQuery("task_id"),
  ...patternQuery("run_id"),
  ...patternQuery("owner"),
  ...patternQuery("event"),
});

/** `/eventLogs`: the audit log. */
export function eventLogRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;

  app.get("/eventLogs", { schema: { querystring: listQuery } }, async (request) => {
    const { query } = request;
    const orders = orderOf(query.order_by, {
      allowed: Object.keys(EVENT_LOG_ORDER),
      primaryKey: "id",
      aliases: { when: "dttm", event_log_id: "id" },
    });
    const { rows, total } = await listEventLogs(
      db,
      {
        dagId: query.dag_id,
        taskId: query.task_id,
        runId: query.run_id,
        mapIndex: query.map_index,
        tryNumber: query.try_number,
        owner: query.owner,
        event: query.event,
        excludedEvents: query.excluded_events,
        includedEvents: query.included_events,
        before: query.before === undefined ? undefined : toInstant(query.before, ["query", "before"]),
        after: query.after === undefined ? undefined : toInstant(query.after, ["query", "after"]),
        dagIdPattern: patternsOf(query, "dag_id"),
        taskIdPattern: patternsOf(query, "task_id"),
        runIdPattern: patternsOf(query, "run_id"),
        ownerPattern: patternsOf(query, "owner"),
        eventPattern: patternsOf(query, "event"),
        teams: teamsOf(request),
      },
      { orders, page: pageOf(query) },
    );
    return { event_logs: rows.map(toEventLogResponse), total_entries: total };
  });

  const params = Type.Object({ event_log_id: Type.String() });
  app.get("/eventLogs/:event_log_id", { schema: { params } }, async (request) => {
    const id = request.params.event_log_id;
    // Airflow's authorization reads the id before its validation does.
    if (!/^-?\d{1,15}$/.test(id)) throw badRequest("'event_log_id' must be an integer");
    const row = await findEventLog(db, Number(id));
    if (!row) throw notFound(`The Event Log with id: \`${id}\` not found`);
    return toEventLogResponse(row);
  });
}

function toEventLogResponse(row: EventLogRow) {
  return {
    event_log_id: row.id,
    when: formatInstant(row.dttm),
    dag_id: row.dag_id,
    task_id: row.task_id,
    run_id: row.run_id,
    map_index: row.map_index,
    try_number: row.try_number,
    event: row.event,
    logical_date: instantOrNull(row.logical_date),
    owner: row.owner,
    extra: row.extra,
    dag_display_name: row.dag_display_name,
    task_display_name: row.task_display_name,
  };
}
