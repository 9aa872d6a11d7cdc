import { sql, type Selectable } from "kysely";
import { newId } from "../kit/ids.ts";
import type { Instant } from "../kit/instant.ts";
import type { Database } from "./database.ts";
import { prepared, type Pool } from "./execution-statement.ts";
import type { AgentSessionTable, AgentTokenTable } from "./schema-agents.ts";

/** A token as others may see it, and how many processes work under it. */
export type AgentTokenRow = Omit<Selectable<AgentTokenTable>, "jti"> & { sessions: number };

/** By name. */
export async function listAgentTokens(db: Database): Promise<AgentTokenRow[]> {
  const { rows } = await sql<AgentTokenRow>`
    select t.name, t.queues, t.created_at, t.created_by, t.expires_at,
      greatest(t.last_seen_at, max(s.last_seen_at)) as last_seen_at, count(s.id)::integer as sessions
    from agent_token t left join agent_session s using (jti) group by t.jti order by t.name`.execute(db);
  return rows;
}

/** An agent that is connected. */
export type ConnectedAgent = Omit<Selectable<AgentSessionTable>, "jti"> & {
  /** The name of its token. */
  name: string;
  /** Task instances that it runs. */
  running: number;
};

/** By token and host. */
export async function listAgents(db: Database): Promise<ConnectedAgent[]> {
  const { rows } = await sql<ConnectedAgent>`
    select t.name, s.id, s.queues, s.hostname, s.unixname, s.pid, s.version, s.concurrency, s.started_at, s.last_seen_at,
      coalesce(work.running, 0) as running
    from agent_session s join agent_token t using (jti) left join (
      select worker_id, count(*)::integer as running from task_instance
      where state in ('running', 'restarting') group by worker_id
    ) as work on work.worker_id = s.id::text
    order by t.name, s.hostname, s.pid`.execute(db);
  return rows;
}

export interface NewAgentToken {
  jti: string;
  name: string;
  queues: readonly string[];
  createdBy: string | null;
  expiresAt: Instant | null;
}

/** False where the name is taken. */
export async function createAgentToken(db: Database, token: NewAgentToken): Promise<boolean> {
  const { jti, name, queues, createdBy, expiresAt } = token;
  const made = await db
    .insertInto("agent_token")
    .values({ jti, name, queues: [...queues], created_by: createdBy, expires_at: expiresAt, last_seen_at: null })
    .onConflict((conflict) => conflict.column("name").doNothing())
    .executeTakeFirst();
  return (made.numInsertedOrUpdatedRows ?? 0n) > 0n;
}

/** Ends the token and every session under it. False where there is none of this name. */
export async function deleteAgentToken(db: Database, name: string): Promise<boolean> {
  const gone = await db.deleteFrom("agent_token").where("name", "=", name).executeTakeFirst();
  return gone.numDeletedRows > 0n;
}

export interface AgentQueues {
  /** Those whose tasks agents alone run, as valid tokens name them, and how many sessions serve each. */
  queues: { queue: string; sessions: number }[];
  sessions: number;
}

export async function agentQueues(db: Database, now: Instant): Promise<AgentQueues> {
  const { rows } = await sql<AgentQueues>`
    select (select count(*)::integer from agent_session) as sessions, coalesce((
      select json_agg(q) from (
        select queue, count(s.id)::integer as sessions
        from agent_token t cross join lateral unnest(t.queues) queue
        left join agent_session s on s.jti = t.jti and queue = any(s.queues)
        where t.expires_at is null or t.expires_at > ${now}::timestamptz
        group by queue
      ) q), '[]')::jsonb as queues`.execute(db);
  return rows[0] as AgentQueues;
}

const tokenStatement = prepared<{ name: string; queues: string[] }>(
  "agent-token",
  `select name, queues from agent_token where jti = $1::text and (expires_at is null or expires_at > $2::timestamptz)`,
);

/** undefined: revoked, expired, or never there. */
export async function findAgentToken(
  pool: Pool,
  jti: string,
  now: Instant,
): Promise<{ name: string; queues: string[] } | undefined> {
  return (await tokenStatement(pool, [jti, now]))[0];
}

export interface NewSession {
  jti: string;
  queues: readonly string[];
  hostname: string;
  unixname: string;
  pid: number;
  version: string;
  concurrency: number;
  now: Instant;
}

/** Returns the session's id; null where the token was revoked meanwhile. */
export async function openSession(pool: Pool, session: NewSession): Promise<string | null> {
  const { jti, queues, hostname, unixname, pid, version, concurrency, now } = session;
  const { rows } = await pool.query<{ id: string }>(
    `with seen as (update agent_token set last_seen_at = $9 where jti = $2 returning jti)
    insert into agent_session (id, jti, queues, hostname, unixname, pid, version, concurrency, started_at, last_seen_at)
    select $1, jti, $3, $4, $5, $6, $7, $8, $9, $9 from seen returning id`,
    [newId(), jti, queues, hostname, unixname, pid, version, concurrency, now],
  );
  return rows[0]?.id ?? null;
}

/** The agent leaves: what it leased is free at once, what it runs is lost. False where the session was over. */
export async function closeSession(pool: Pool, id: string, jti: string): Promise<boolean> {
  const { rowCount } = await pool.query(
    `with gone as (delete from agent_session where id = $1::uuid and jti = $2::text returning id),
    freed as (
      update task_instance ti set worker_id = null, lease_until = null from gone
      where ti.state = 'queued' and ti.worker_id = gone.id::text
    ) select id from gone`,
    [id, jti],
  );
  return (rowCount ?? 0) > 0;
}

/** Ends the sessions that gave no sign of life since `before`, and frees what they leased; returns their ids. */
export async function endSilentSessions(pool: Pool, before: Instant): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>(
    `with silent as (
      select id from agent_session where last_seen_at < $1::timestamptz order by id for update
    ), gone as (
      delete from agent_session s using silent where s.id = silent.id returning s.id, s.jti, s.last_seen_at
    ),
    freed as (
      update task_instance ti set worker_id = null, lease_until = null from gone
      where ti.state = 'queued' and ti.worker_id = gone.id::text
    ), seen as (
      update agent_token t set last_seen_at = greatest(t.last_seen_at, gone.last_seen_at) from gone where t.jti = gone.jti
    ) select id from gone`,
    [before],
  );
  return rows.map(({ id }) => id);
}
