import type { Instant } from "../kit/instant.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import { prepared, type Pool } from "./execution-statement.ts";

const heartbeatStatement = prepared<{ id: string }>(
  "execution-heartbeat",
  `update task_instance set last_heartbeat_at = $4::timestamptz
  where id = $1::uuid and state is not distinct from 'running' and hostname = $2::text and pid = $3::integer
  returning id`,
);

/** False when this process does not hold the try (any more): see `whereabouts`. */
export async function recordHeartbeat(
  pool: Pool,
  beat: { id: string; hostname: string; pid: number; now: Instant },
): Promise<boolean> {
  return (await heartbeatStatement(pool, [beat.id, beat.hostname, beat.pid, beat.now])).length > 0;
}

export interface Whereabouts {
  /** The id names a row of task_instance. */
  live: boolean;
  /** The id names an earlier try: it was retried or cleared. */
  archived: boolean;
  state: TaskInstanceState | null;
  hostname: string | null;
  pid: number | null;
}

const whereaboutsStatement = prepared<Whereabouts>(
  "execution-whereabouts",
  `select ti.id is not null as live, exists (select 1 from task_instance_history h where h.id = $1::uuid) as archived,
    ti.state, ti.hostname, ti.pid
  from (select $1::uuid as id) as asked left join task_instance ti on ti.id = asked.id`,
);

/** Why a guarded write found no row. */
export async function whereabouts(pool: Pool, id: string): Promise<Whereabouts> {
  return (await whereaboutsStatement(pool, [id]))[0] as Whereabouts;
}
