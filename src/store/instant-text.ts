import { sql, type RawBuilder } from "kysely";

/** SQL for a moment as an Instant, where PostgreSQL would write it otherwise: in aggregated JSON. */
export const instantText = (column: string): string =>
  `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

export const instantJson = (column: string): RawBuilder<string> => sql.raw(instantText(column));

/** The run `r` that an asset's event made, as a CreatedRun: what `jsonb_build_object` takes. */
export const CREATED_RUN_FIELDS = sql.raw(`'run_id', r.run_id, 'dag_id', r.dag_id, 'state', r.state,
  'logical_date', ${instantText("r.logical_date")}, 'start_date', ${instantText("r.start_date")},
  'end_date', ${instantText("r.end_date")}, 'data_interval_start', ${instantText("r.data_interval_start")},
  'data_interval_end', ${instantText("r.data_interval_end")}, 'partition_key', r.partition_key`);
