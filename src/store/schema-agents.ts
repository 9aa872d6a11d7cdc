import type { Generated } from "kysely";
import type { Instant } from "../kit/instant.ts";

export interface AgentSchema {
  agent_token: AgentTokenTable;
  agent_session: AgentSessionTable;
}

export interface AgentTokenTable {
  jti: string;
  name: string;
  queues: string[];
  created_at: Generated<Instant>;
  created_by: string | null;
  expires_at: Instant | null;
  last_seen_at: Instant | null;
}

export interface AgentSessionTable {
  id: string;
  jti: string;
  queues: string[];
  hostname: string;
  unixname: string;
  pid: number;
  version: string;
  concurrency: number;
  started_at: Instant;
  last_seen_at: Instant;
}
