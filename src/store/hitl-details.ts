import { sql, type Selectable } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";
import {
  allOf,
  column,
  equals,
  inRange,
  isOneOf,
  isOneOfOrNull,
  matches,
  paginated,
  type Order,
  type Page,
  type Patterns,
  type Range,
  type Sortable,
} from "./filters.ts";
import type { HitlDetailTable } from "./schema.ts";
import { inTransaction } from "./transaction.ts";

/** What a person is asked for a try, and what was answered. */
export type HitlRow = Selectable<HitlDetailTable>;

export interface HitlFilter {
  dagId?: string;
  runId?: string;
  taskId?: string;
  mapIndex?: number;
  states: readonly (TaskInstanceState | null)[];
  responded?: boolean;
  responderIds: readonly string[];
  responderNames: readonly string[];
  dagIdPattern: Patterns;
  taskIdPattern: Patterns;
  subject: Patterns;
  body: Patterns;
  createdAt: Range<Instant>;
}

const responderId = sql<string | null>`h.responded_by ->> 'id'`;
const responderName = sql<string | null>`h.responded_by ->> 'name'`;

export const HITL_SORTABLE: Sortable = {
  ti_id: column("h.ti_id"),
  subject: column("h.subject"),
  responded_at: column("h.responded_at"),
  created_at: column("h.created_at"),
  responded_by_user_id: responderId,
  responded_by_user_name: responderName,
  dag_id: column("ti.dag_id"),
  run_id: column("dr.run_id"),
  task_display_name: column("ti.task_display_name"),
  run_after: column("dr.run_after"),
  rendered_map_index: column("ti.rendered_map_index"),
  task_instance_operator: column("ti.operator"),
  task_instance_state: column("ti.state"),
};

/** Requests of live task instances. */
export async function listHitlDetails(
  db: Database,
  filter: HitlFilter,
  sorting: { orders: readonly Order[]; page: Page },
): Promise<{ rows: HitlRow[]; total: number }> {
  const { responded } = filter;
  const query = db
    .selectFrom("hitl_detail as h")
    .innerJoin("task_instance as ti", "ti.id", "h.ti_id")
    .innerJoin("dag_run as dr", "dr.id", "ti.dag_run_id")
    .selectAll("h")
    .where(
      allOf([
        ...equals(column("ti.dag_id"), filter.dagId),
        ...equals(column("dr.run_id"), filter.runId),
        ...equals(column("ti.task_id"), filter.taskId),
        ...equals(column("ti.map_index"), filter.mapIndex),
        ...isOneOfOrNull(column("ti.state"), filter.states),
        ...(responded === undefined ? [] : equals(sql`(h.responded_at is not null)`, responded)),
        ...isOneOf(responderId, filter.responderIds),
        ...isOneOf(responderName, filter.responderNames),
        ...matches(column("ti.dag_id"), filter.dagIdPattern),
        ...matches(column("ti.task_id"), filter.taskIdPattern),
        ...matches(column("h.subject"), filter.subject),
        ...matches(column("h.body"), filter.body),
        ...inRange(column("h.created_at"), filter.createdAt),
      ]),
    );
  return await paginated(query, { ...sorting, sortable: HITL_SORTABLE });
}

/** The request of a try, live or earlier; null when nobody was asked anything. */
export async function findHitlDetail(db: Database, tiId: string): Promise<HitlRow | null> {
  const live = await db.selectFrom("hitl_detail").selectAll().where("ti_id", "=", tiId).executeTakeFirst();
  if (live) return live;
  return (await db.selectFrom("hitl_detail_history").selectAll().where("ti_id", "=", tiId).executeTakeFirst()) ?? null;
}

export interface HitlAnswer {
  respondedBy: JsonText;
  chosenOptions: JsonText;
  paramsInput: JsonText;
  /** What the task is resumed with, made of what it left when it parked. */
  resumeWith(nextKwargs: JsonText | null): JsonText;
  now: Instant;
}

/** Records an answer and lets the task that waits for it go on. null: it was answered already, or is gone. */
export async function answerHitlDetail(
  db: Database,
  tiId: string,
  answer: HitlAnswer,
): Promise<{ resumedRun: number | null } | null> {
  return await inTransaction(db, async (trx) => {
    // The task instance first, as parking a task locks them.
    const ti = await trx
      .selectFrom("task_instance")
      .select(["state", "dag_run_id", "next_kwargs"])
      .where("id", "=", tiId)
      .forNoKeyUpdate()
      .executeTakeFirst();
    const { numUpdatedRows } = await trx
      .updateTable("hitl_detail")
      .set({
        responded_by: answer.respondedBy,
        responded_at: answer.now,
        chosen_options: answer.chosenOptions,
        params_input: answer.paramsInput,
      })
      .where("ti_id", "=", tiId)
      .where("responded_at", "is", null)
      .executeTakeFirst();
    if (numUpdatedRows === 0n) return null;
    if (ti?.state !== "awaiting_input" && ti?.state !== "deferred") return { resumedRun: null };
    await trx
      .updateTable("task_instance")
      .set({
        state: "scheduled",
        scheduled_dttm: answer.now,
        next_kwargs: answer.resumeWith(ti.next_kwargs),
        trigger_id: null,
        trigger_timeout: null,
        wake_at: null,
        updated_at: answer.now,
      })
      .where("id", "=", tiId)
      .execute();
    return { resumedRun: ti.dag_run_id };
  });
}

/** A task whose time to wait for an answer is up. */
export interface TimedOutInput {
  id: string;
  next_kwargs: JsonText | null;
  detail: HitlRow | null;
}

/**
 * Lets those of these tasks go on whose time to wait for an answer is up. `goOn` says how; `answer` is noted as what was chosen
 * for want of one. Returns them with their runs.
 */
export async function timeOutInputs(
  db: Database,
  given: {
    ids: readonly string[];
    now: Instant;
    goOn: (input: TimedOutInput) => {
      nextKwargs: JsonText;
      answer: { chosenOptions: JsonText; paramsInput: JsonText } | null;
    };
  },
): Promise<{ id: string; dagRunId: number }[]> {
  const { ids, now, goOn } = given;
  if (ids.length === 0) return [];
  return await inTransaction(db, async (trx) => {
    const waiting = await trx
      .selectFrom("task_instance")
      .select(["id", "dag_run_id", "next_kwargs"])
      .where("id", "in", ids)
      .where("state", "=", "awaiting_input")
      .where("trigger_timeout", "<=", now)
      .orderBy("id")
      .forNoKeyUpdate()
      .execute();
    for (const { id, next_kwargs } of waiting) {
      const detail = await trx.selectFrom("hitl_detail").selectAll().where("ti_id", "=", id).executeTakeFirst();
      const { nextKwargs, answer } = goOn({ id, next_kwargs, detail: detail ?? null });
      if (answer) {
        await trx
          .updateTable("hitl_detail")
          .set({
            chosen_options: answer.chosenOptions,
            params_input: answer.paramsInput,
            responded_by: null,
            responded_at: now,
          })
          .where("ti_id", "=", id)
          .execute();
      }
      await trx
        .updateTable("task_instance")
        .set({
          state: "scheduled",
          scheduled_dttm: now,
          next_kwargs: nextKwargs,
          trigger_timeout: null,
          wake_at: null,
          updated_at: now,
        })
        .where("id", "=", id)
        .execute();
    }
    return waiting.map(({ id, dag_run_id }) => ({ id, dagRunId: dag_run_id }));
  });
}

/** The tasks that wait for an answer until a time. */
export async function waitingInputs(db: Database): Promise<{ id: string; trigger_timeout: Instant }[]> {
  const { rows } = await sql<{ id: string; trigger_timeout: Instant }>`
    select id, trigger_timeout from task_instance where state = 'awaiting_input' and trigger_timeout is not null`.execute(
    db,
  );
  return rows;
}
