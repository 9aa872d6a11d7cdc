import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { Database } from "./database.ts";
import type { Executor } from "./transaction.ts";

export interface HitlRequest {
  options: JsonText;
  subject: string;
  body: string | null;
  defaults: JsonText | null;
  multiple: boolean;
  params: JsonText;
  assignees: JsonText;
}

/**
 * What a person is asked for a task instance. A request that exists already (from a try before) stays as it is; an answer to
 * it is taken away. null when the id is no longer live.
 */
export async function upsertHitlRequest(
  db: Database,
  id: string,
  request: HitlRequest,
  now: Instant,
): Promise<HitlRequest | null> {
  const { rows } = await sql<HitlRequest>`
    insert into hitl_detail (ti_id, options, subject, body, defaults, multiple, params, assignees, created_at)
    select id, ${request.options}::json, ${request.subject}, ${request.body}, ${request.defaults}::json, ${request.multiple},
      ${request.params}::json, ${request.assignees}::json, ${now}::timestamptz
    from task_instance where id = ${id}::uuid
    on conflict (ti_id) do update set responded_by = null, responded_at = null, chosen_options = null, params_input = '{}'
    returning options, subject, body, defaults, multiple, params, assignees`.execute(db);
  return rows[0] ?? null;
}

/** What was answered to a request. */
export interface HitlResponseRow {
  responded_at: Instant | null;
  responded_by: JsonText | null;
  chosen_options: JsonText | null;
  params_input: JsonText;
}

/** null: nobody was asked anything. */
export async function findHitlResponse(db: Database, id: string): Promise<HitlResponseRow | null> {
  const row = await db
    .selectFrom("hitl_detail")
    .select(["responded_at", "responded_by", "chosen_options", "params_input"])
    .where("ti_id", "=", id)
    .executeTakeFirst();
  return row ?? null;
}

/** Records what was chosen; nobody's name stands for the defaults. False when there is an answer, or was no question. */
export async function storeHitlResponse(
  db: Executor,
  id: string,
  response: { respondedBy: JsonText | null; chosenOptions: JsonText; paramsInput: JsonText; now: Instant },
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable("hitl_detail")
    .set({
      responded_at: response.now,
      responded_by: response.respondedBy,
      chosen_options: response.chosenOptions,
      params_input: response.paramsInput,
    })
    .where("ti_id", "=", id)
    .where("responded_at", "is", null)
    .executeTakeFirst();
  return numUpdatedRows === 1n;
}

/** All columns of a request but whose it is. */
export const HITL_COLUMNS =
  "options, subject, body, defaults, multiple, params, assignees, created_at, responded_at, responded_by, chosen_options, params_input";
