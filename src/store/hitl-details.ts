import { sql, type Selectable } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import { storeHitlResponse } from "./execution-hitl.ts";
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
import { inTransaction, type Trx } from "./transaction.ts";
import { dagsWithin } from "./team-scope.ts";

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
  teams?: TeamScope;
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
        ...dagsWithin(column("ti.dag_id"), filter.teams),
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
    if (!(await storeHitlResponse(trx, tiId, answer))) return null;
    if (ti?.state !== "awaiting_input" && ti?.state !== "deferred") return { resumedRun: null };
    await goOnWith(trx, tiId, answer.resumeWith(ti.next_kwargs), answer.now);
    return { resumedRun: ti.dag_run_id };
  });
}

/** Lets a task that was parked be scheduled again. */
async function goOnWith(trx: Trx, tiId: string, nextKwargs: JsonText, now: Instant): Promise<void> {
  await trx
    .updateTable("task_instance")
    .set({
      state: "scheduled",
      scheduled_dttm: now,
      next_kwargs: nextKwargs,
      trigger_id: null,
      trigger_timeout: null,
      wake_at: null,
      updated_at: now,
    })
    .where("id", "=", tiId)
    .execute();
}

/** A task that need not wait for an answer any more: it has one, or its time is up. */
export interface EndedInput {
  id: string;
  next_kwargs: JsonText | null;
  detail: HitlRow | null;
}

/**
 * Lets those of these tasks go on that were answered before they waited, or whose time to wait is up. `goOn` says how; `answer`
 * is noted as what was chosen for want of one. Returns their runs.
 */
export async function endInputWaits(
  db: Database,
  given: {
    ids: readonly string[];
    now: Instant;
    goOn: (input: EndedInput) => {
      nextKwargs: JsonText;
      answer: { chosenOptions: JsonText; paramsInput: JsonText } | null;
    };
  },
): Promise<Set<number>> {
  const { ids, now, goOn } = given;
  const runs = new Set<number>();
  if (ids.length === 0) return runs;
  return await inTransaction(db, async (trx) => {
    const waiting = await trx
      .selectFrom("task_instance")
      .select(["id", "dag_run_id", "next_kwargs", "trigger_timeout"])
      .where("id", "in", ids)
      .where("state", "=", "awaiting_input")
      .orderBy("id")
      .forNoKeyUpdate()
      .execute();
    for (const { id, dag_run_id, next_kwargs, trigger_timeout } of waiting) {
      const detail = await trx.selectFrom("hitl_detail").selectAll().where("ti_id", "=", id).executeTakeFirst();
      const isOver = trigger_timeout !== null && trigger_timeout <= now;
      if (!isOver && (detail?.responded_at ?? null) === null) continue;
      const { nextKwargs, answer } = goOn({ id, next_kwargs, detail: detail ?? null });
      if (answer) await storeHitlResponse(trx, id, { ...answer, respondedBy: null, now });
      await goOnWith(trx, id, nextKwargs, now);
      runs.add(dag_run_id);
    }
    return runs;
  });
}

/** Tasks that wait for an answer until a time, or have one already. */
export async function waitingInputs(
  db: Database,
): Promise<{ id: string; trigger_timeout: Instant | null; answered: boolean }[]> {
  const { rows } = await sql<{ id: string; trigger_timeout: Instant | null; answered: boolean }>`
    select ti.id, ti.trigger_timeout, h.responded_at is not null as answered
    from task_instance ti left join hitl_detail h on h.ti_id = ti.id
    where ti.state = 'awaiting_input' and (ti.trigger_timeout is not null or h.responded_at is not null)`.execute(db);
  return rows;
}

/** What tasks of these DAGs wait for people to answer. */
export async function pendingInputs(
  db: Database,
  dagIds: readonly string[],
): Promise<(HitlRow & { dag_id: string })[]> {
  if (dagIds.length === 0) return [];
  return await db
    .selectFrom("hitl_detail as h")
    .innerJoin("task_instance as ti", "ti.id", "h.ti_id")
    .selectAll("h")
    .select("ti.dag_id")
    .where("ti.dag_id", "in", dagIds)
    .where("ti.state", "in", ["deferred", "awaiting_input"])
    .where("h.responded_at", "is", null)
    .orderBy("ti.dag_id")
    .orderBy("h.created_at")
    .execute();
}
