import type { AgentHeartbeat, AgentHeartbeatAnswer, LeaseAnswer } from "../../domain/agent-protocol.ts";
import type { TaskExecution } from "../../domain/task-execution.ts";
import type { OpenDatabase } from "../../store/database.ts";

/** What the routes for agents are given; without it a server takes none. */
export interface AgentService {
  pool: OpenDatabase["pool"];
  execution: TaskExecution;
  executor: AgentDesk;
  /** Holds the files of DAG versions, by their digest. */
  versionsDir: string;
  /** After how long a silent session is over. */
  lostAfterMs: number;
}

interface SessionKey {
  sessionId: string;
  jti: string;
}

/** Where sessions wait for work and give signs of life; executors/agents has it. null: the session is over. */
export interface AgentDesk {
  lease(session: SessionKey, free: number, signal: AbortSignal): Promise<LeaseAnswer | null>;
  heartbeat(session: SessionKey, tasks: AgentHeartbeat["tasks"]): Promise<AgentHeartbeatAnswer | null>;
  exited(sessionId: string, id: string): void;
  close(session: SessionKey): Promise<boolean>;
  /** Whether tasks of this queue are for agents alone, as far as it knows. */
  serves(queue: string): boolean;
  /** Sessions came, or tokens were made or revoked. */
  tokensChanged(): Promise<void>;
}
