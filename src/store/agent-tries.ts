import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { HeartbeatAnswer } from "../domain/task-execution.ts";
import type { Workload } from "../domain/workload.ts";
import { prepared, type Pool } from "./execution-statement.ts";

// What agent sessions have of the task instances. Invariants:
// 1. A try belongs to at most one session, or to the token of a stock Airflow worker: its worker_id, an id or a jti. Every statement here and `startTaskInstance` are guarded by it.
// 2. Times are the server's alone; an agent's clock decides nothing.

interface LeasedRow {
  worker_id: string;
  id: string;
  dag_id: string;
  task_id: string;
  run_id: string;
  map_index: number;
  try_number: number;
  dag_version_id: string;
  queue: string;
  pool_slots: number;
  priority_weight: number;
  executor_config: JsonText | null;
  dag_rel_path: string;
  bundle_name: string;
  bundle_version: string | null;
  archive_digest: string;
  environment: string;
}

/** `room` says who may have how many: a row with its id and number for each. $3 are queues, $4 is now, $5 until when. */
const leaseInto = (room: string) =>
  `with room as (
    ${room}
  ), waiting as (
    select id, priority_weight, queued_dttm from task_instance
    where state = 'queued' and queue = any($3::text[]) and (lease_until is null or lease_until < $4::timestamptz)
    order by priority_weight desc, queued_dttm, id
    limit (select count(*) from room)
    for update skip locked
  ), chosen as (
    select id, row_number() over (order by priority_weight desc, queued_dttm, id) as nth from waiting
  ), leased as (
    update task_instance ti set worker_id = room.id::text, lease_until = $5::timestamptz
    from chosen join room using (nth) where ti.id = chosen.id
    returning ti.*, nth
  )
  select leased.worker_id, leased.id, leased.dag_id, leased.task_id, r.run_id, leased.map_index, leased.try_number,
    v.id as dag_version_id, leased.queue, leased.pool_slots, leased.priority_weight, leased.executor_config,
    v.dag_rel_path, v.bundle_name, v.bundle_version, v.archive_digest, v.environment
  from leased join dag_run r on r.id = leased.dag_run_id
  join dag_version v on v.id = coalesce(leased.dag_version_id, r.dag_version_id)
  order by leased.nth`;

// The sessions take turns, so that what there is spreads over them.
const leaseStatement = prepared<LeasedRow>(
  "agent-lease",
  leaseInto(`select s.id, row_number() over (order by turn, asked.ord) as nth
    from unnest($1::uuid[], $2::integer[]) with ordinality as asked(id, free, ord)
    join agent_session s on s.id = asked.id
    cross join lateral generate_series(1, asked.free) turn`),
);

const workloadStatement = prepared<LeasedRow>(
  "agent-lease-workload",
  leaseInto("select jti as id, nth from agent_token, generate_series(1, $2::integer) nth where jti = $1::text"),
);

export interface Lease {
  sessionId: string;
  workload: Workload;
}

/** Gives queued tries of these queues to these sessions, each at most `free`, the most important first. */
export async function leaseTries(
  pool: Pool,
  sessions: readonly { id: string; free: number }[],
  queues: readonly string[],
  { now, until }: { now: Instant; until: Instant },
): Promise<Lease[]> {
  const ids = sessions.map(({ id }) => id);
  const rows = await leaseStatement(pool, [ids, sessions.map(({ free }) => free), queues, now, until]);
  return rows.map((row) => ({ sessionId: row.worker_id, workload: workloadOf(row) }));
}

/** As `leaseTries`, but for a token itself: who runs them has no session, and their own heartbeats are all that is heard of them. */
export async function leaseWorkloads(
  pool: Pool,
  asked: { jti: string; count: number; queues: readonly string[] },
  { now, until }: { now: Instant; until: Instant },
): Promise<Workload[]> {
  return (await workloadStatement(pool, [asked.jti, asked.count, asked.queues, now, until])).map(workloadOf);
}

function workloadOf(row: LeasedRow): Workload {
  return {
    id: row.id,
    dagId: row.dag_id,
    taskId: row.task_id,
    runId: row.run_id,
    mapIndex: row.map_index,
    tryNumber: row.try_number,
    dagVersionId: row.dag_version_id,
    queue: row.queue,
    poolSlots: row.pool_slots,
    priorityWeight: row.priority_weight,
    executorConfig: row.executor_config,
    dagRelPath: row.dag_rel_path,
    bundle: { name: row.bundle_name, version: row.bundle_version },
    archiveDigest: row.archive_digest,
    environment: row.environment,
  };
}

/** What was leased and could not be handed over may be leased again at once. */
export async function releaseLeases(pool: Pool, sessionId: string, ids: readonly string[]): Promise<void> {
  await pool.query(
    `update task_instance set worker_id = null, lease_until = null
    where id = any($1::uuid[]) and state is not distinct from 'queued' and worker_id = $2::text`,
    [ids, sessionId],
  );
}

export interface BeatAnswer {
  /** What the session serves. */
  queues: string[];
  /** Its tries that are not to go on. */
  ended: { id: string; answer: Exclude<HeartbeatAnswer, "alive"> }[];
}

// Sessions are locked in one order: others may be told of at the same time.
const beatStatement = prepared<BeatAnswer & { id: string }>(
  "agent-beat",
  `with known as (
    select s.id from unnest($1::uuid[], $2::text[]) as asked(id, jti) join agent_session s using (id, jti)
    order by s.id for update of s
  ), seen as (
    update agent_session s set last_seen_at = $3::timestamptz from known where s.id = known.id returning s.id, s.queues
  ), told as (
    select b.session, b.id, b.pid from unnest($4::uuid[], $5::uuid[], $6::integer[]) as b(session, id, pid)
    join seen on seen.id = b.session
  ), running as (
    update task_instance ti set last_heartbeat_at = $3::timestamptz from told
    where ti.id = told.id and ti.worker_id = told.session::text and ti.state is not distinct from 'running'
      and ti.pid = told.pid
  ), renewed as (
    update task_instance ti set lease_until = $7::timestamptz from told
    where ti.id = told.id and ti.worker_id = told.session::text and ti.state is not distinct from 'queued'
      and told.pid is null
  )
  select seen.id, seen.queues, coalesce((
    select json_agg(json_build_object('id', told.id, 'answer', case
        when ti.id is null then case when h.id is null then 'not_found' else 'gone' end
        when ti.worker_id is distinct from told.session::text or ti.state = 'running' then 'running_elsewhere'
        else 'not_running' end))
    from told left join task_instance ti on ti.id = told.id left join task_instance_history h on h.id = told.id
    where told.session = seen.id and not coalesce(
      ti.worker_id = told.session::text
        and (ti.state = 'queued' or ti.state = 'running' and (told.pid is null or told.pid = ti.pid)), false)
  ), '[]')::jsonb as ended
  from seen`,
);

export interface Beat {
  sessionId: string;
  jti: string;
  /** pid null: leased and not started yet. */
  tasks: readonly { id: string; pid: number | null }[];
}

/** Signs of life of sessions and of what they run, each session once. null for a session that is over. */
export async function recordBeats(
  pool: Pool,
  beats: readonly Beat[],
  { now, leaseUntil }: { now: Instant; leaseUntil: Instant },
): Promise<(BeatAnswer | null)[]> {
  const tasks = beats.flatMap(({ sessionId, tasks }) => tasks.map((task) => ({ ...task, sessionId })));
  const rows = await beatStatement(pool, [
    beats.map(({ sessionId }) => sessionId),
    beats.map(({ jti }) => jti),
    now,
    tasks.map(({ sessionId }) => sessionId),
    tasks.map(({ id }) => id),
    tasks.map(({ pid }) => pid),
    leaseUntil,
  ]);
  const answers = new Map(rows.map((row) => [row.id, row]));
  return beats.map(({ sessionId }) => answers.get(sessionId) ?? null);
}

/** Which of these sessions are not over. */
export async function livingSessions(pool: Pool, ids: readonly string[]): Promise<Set<string>> {
  const { rows } = await pool.query<{ id: string }>(`select id from agent_session where id = any($1::uuid[])`, [ids]);
  return new Set(rows.map(({ id }) => id));
}

export interface HeldTry {
  /** Who the session is; null: it is over. */
  session: { hostname: string; unixname: string } | null;
  /** Whether the session has the try: as it is now, or as one that ended; null: no. */
  held: "live" | "ended" | null;
  dagId: string;
  runId: string;
  taskId: string;
  mapIndex: number;
  tryNumber: number;
}

interface HeldRow {
  hostname: string | null;
  unixname: string | null;
  live: boolean | null;
  dag_id: string;
  run_id: string;
  task_id: string;
  map_index: number;
  try_number: number;
}

const heldStatement = prepared<HeldRow>(
  "agent-held",
  `select s.hostname, s.unixname, tried.live, tried.dag_id, r.run_id, tried.task_id, tried.map_index, tried.try_number
  from (select $1::uuid as session, $2::text as jti, $3::uuid as id) as asked
  left join agent_session s on s.id = asked.session and s.jti = asked.jti
  left join lateral (
    select true as live, dag_run_id, dag_id, task_id, map_index, try_number from task_instance ti
    where ti.id = asked.id and ti.worker_id = asked.session::text
    union all
    select false, dag_run_id, dag_id, task_id, map_index, try_number from task_instance_history h
    where h.id = asked.id and h.worker_id = asked.session::text
    limit 1
  ) as tried on true
  left join dag_run r on r.id = tried.dag_run_id`,
);

/** What a session has to do with a try: asked before anything that it says of one is believed. */
export async function findHeldTry(pool: Pool, asked: { sessionId: string; jti: string; id: string }): Promise<HeldTry> {
  const [row] = await heldStatement(pool, [asked.sessionId, asked.jti, asked.id]);
  if (!row) throw new Error("a select without a row");
  return {
    session: row.hostname === null ? null : { hostname: row.hostname, unixname: row.unixname ?? "" },
    held: row.live === null ? null : row.live ? "live" : "ended",
    dagId: row.dag_id,
    runId: row.run_id,
    taskId: row.task_id,
    mapIndex: row.map_index,
    tryNumber: row.try_number,
  };
}

/** From now on no session has this try: what its process says is refused. */
export async function takeFromAgent(pool: Pool, id: string): Promise<void> {
  await pool.query(`update task_instance set worker_id = null, lease_until = null where id = $1::uuid`, [id]);
}
