import type { Generated, GeneratedAlways } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { BackfillSkip, ReprocessBehavior } from "../domain/backfill.ts";

/** The tables of migrations/0004_backfills.sql. */
export interface BackfillSchema {
  backfill: BackfillTable;
  backfill_dag_run: BackfillDagRunTable;
}

export interface BackfillTable {
  id: GeneratedAlways<number>;
  dag_id: string;
  from_date: Instant;
  to_date: Instant;
  dag_run_conf: JsonText | null;
  is_paused: Generated<boolean>;
  reprocess_behavior: ReprocessBehavior;
  max_active_runs: number;
  created_at: Generated<Instant>;
  completed_at: Instant | null;
  updated_at: Generated<Instant>;
  triggering_user_name: string | null;
}

export interface BackfillDagRunTable {
  id: GeneratedAlways<number>;
  backfill_id: number;
  dag_run_id: number | null;
  exception_reason: BackfillSkip | null;
  logical_date: Instant | null;
  partition_key: string | null;
  sort_ordinal: number;
}
