import type { Instant } from "../kit/instant.ts";
import type { Kit } from "../kit/service.ts";
import type { SecretBox } from "../kit/fernet.ts";
import type { DagGraph } from "../domain/dag-graph.ts";
import type { EventBus } from "../domain/events.ts";
import type { DataInterval } from "../domain/timetable/timetable.ts";
import type { Reply } from "../domain/task-execution.ts";
import type { Database, OpenDatabase } from "../store/database.ts";
import type { DagRunCreation, NewDagRun } from "../store/dag-run-creation.ts";
import type { MessageFields } from "./message-fields.ts";

export interface ExecutionDeps {
  database: Pick<OpenDatabase, "db" | "pool">;
  bus: EventBus;
  secrets: SecretBox;
  /** The graph of a DAG version; cached. Throws when the version does not exist. */
  graph: (dagVersionId: string) => Promise<DagGraph>;
  createDagRun: (db: Database, run: NewDagRun) => Promise<DagRunCreation>;
  /** What a run that is made by hand covers, by the DAG's timetable. */
  manualDataInterval: (dagVersionId: string, runAfter: Instant) => Promise<DataInterval | null>;
}

export interface ExecutionConfig {
  /** `[core] max_map_length`: the longest value mapped tasks may expand on. */
  maxMapLength: number;
  /** "fail" where no triggerer runs: a task that defers fails at once, with the reason, instead of waiting for ever. */
  deferral: "park" | "fail";
  /** `[core] multi_team`: a task sees what its DAG's team owns, and what nobody owns. */
  multiTeam: boolean;
  /** What the environment keeps for teams, by Airflow's names; read before the database in multi-team mode. */
  teamSecrets: ReadonlyMap<string, string>;
  /** Waits between attempts when the database cannot be reached. */
  reconnectDelaysMs: readonly number[];
}

export const DEFAULT_EXECUTION_CONFIG: ExecutionConfig = {
  maxMapLength: 1024,
  deferral: "fail",
  multiTeam: false,
  teamSecrets: new Map(),
  reconnectDelaysMs: [100, 300, 1000, 3000, 5000],
};

/** What every operation works with. */
export interface ExecutionContext {
  kit: Kit;
  deps: ExecutionDeps;
  config: ExecutionConfig;
}

/**
 * Answers one type of message. `callerId` is the try whose process asks; null when no task instance stands behind it (the
 * DAG processor asks for Variables and Connections too).
 */
export type MessageHandler = (
  x: ExecutionContext,
  callerId: string | null,
  message: MessageFields,
) => Promise<Reply> | Reply;
