import type { Generated } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { CallbackState, CallbackType } from "../domain/callback.ts";
import type { HitlDetailTable } from "./schema.ts";

/** The tables of migrations/0003_callbacks.sql. */
export interface CallbackSchema {
  callback: CallbackTable;
  deadline_alert: DeadlineAlertTable;
  deadline: DeadlineTable;
  hitl_detail_history: HitlDetailTable;
}

export interface CallbackTable {
  id: string;
  type: CallbackType;
  state: CallbackState;
  dag_run_id: number;
  dag_version_id: string;
  data: JsonText;
  output: string | null;
  priority_weight: Generated<number>;
  attempts: Generated<number>;
  trigger_id: number | null;
  created_at: Instant;
  updated_at: Instant;
}

export interface DeadlineAlertTable {
  id: string;
  dag_version_id: string;
  position: number;
  name: string | null;
  description: string | null;
  reference: JsonText;
  interval: JsonText;
  callback_def: JsonText;
  created_at: Instant;
}

export interface DeadlineTable {
  id: string;
  dag_run_id: number;
  deadline_alert_id: string | null;
  callback_id: string | null;
  deadline_time: Instant;
  unresolved: Generated<boolean>;
  missed: Generated<boolean>;
  created_at: Instant;
  last_updated_at: Instant;
}
