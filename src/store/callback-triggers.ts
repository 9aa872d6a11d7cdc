import { sql } from "kysely";
import type { CallbackState } from "../domain/callback.ts";
import type { Instant } from "../kit/instant.ts";
import type { Database } from "./database.ts";

/** A callback that runs as a trigger. */
export interface CallbackTriggerRow {
  id: string;
  trigger_id: number;
  classpath: string;
  kwargs: string;
  path: string;
  dag_id: string;
  run_id: string;
  environment: string;
  archive_digest: string;
  dag_rel_path: string;
}

/** Those that have not ended: what a triggerer is to run. */
export async function openCallbackTriggers(db: Database): Promise<CallbackTriggerRow[]> {
  const { rows } = await sql<CallbackTriggerRow>`
    select c.id, t.id as trigger_id, t.classpath, t.kwargs, c.data->>'path' as path, r.dag_id, r.run_id, v.environment,
      v.archive_digest, v.dag_rel_path
    from callback c join trigger t on t.id = c.trigger_id join dag_run r on r.id = c.dag_run_id
      join dag_version v on v.id = c.dag_version_id
    where c.type = 'triggerer' and c.state in ('queued', 'running')
    order by c.created_at`.execute(db);
  return rows;
}

/** What a trigger tells of its callback. Returns the callback's id; null when it is none of a callback, or that has ended. */
export async function callbackTold(
  db: Database,
  told: { triggerId: number; state: CallbackState; output: string | null; now: Instant },
): Promise<string | null> {
  const { triggerId, state, output, now } = told;
  const over = state === "success" || state === "failed";
  const { rows } = await sql<{ id: string }>`
    with changed as (
      update callback set state = ${state}, updated_at = ${now}::timestamptz,
        output = case when ${over} then ${output} else callback.output end,
        trigger_id = case when ${over} then null else callback.trigger_id end,
        attempts = attempts + case when ${state} = 'running' then 1 else 0 end
      where type = 'triggerer' and trigger_id = ${triggerId} and state in ('queued', 'running')
      returning id
    ), done as (
      delete from trigger using changed where trigger.id = ${triggerId} and ${over}
    )
    select id from changed`.execute(db);
  return rows[0]?.id ?? null;
}
