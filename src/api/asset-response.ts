import { exactStringify, parseExact } from "../kit/exact-json.ts";
import { formatInstant, type Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { AssetEventRow, AssetRow } from "../store/query-assets.ts";
import { RawText } from "./raw-json.ts";
import { redact } from "./secrets.ts";
import { instantOrNull } from "./serialize.ts";

/** Airflow's AssetResponse and AssetEventResponse; to be sent with `sendRaw`. */

/** Without what sounds secret, its numbers as they were written. */
function shown(extra: JsonText): RawText {
  return new RawText(exactStringify(redact(parseExact(extra))) as JsonText);
}

function withTimes<T extends { created_at: Instant; updated_at: Instant }>(row: T) {
  return { ...row, created_at: formatInstant(row.created_at), updated_at: formatInstant(row.updated_at) };
}

export function toAssetResponse(row: AssetRow) {
  const { last_event_id, last_event_timestamp, extra, ...asset } = row;
  return {
    ...withTimes(asset),
    extra: shown(extra),
    scheduled_dags: row.scheduled_dags.map(withTimes),
    producing_tasks: row.producing_tasks.map(withTimes),
    consuming_tasks: row.consuming_tasks.map(withTimes),
    watchers: row.watchers.map((watcher) => ({ ...watcher, created_date: formatInstant(watcher.created_date) })),
    last_asset_event: { id: last_event_id, timestamp: instantOrNull(last_event_timestamp) },
  };
}

export function toAssetEventResponse(row: AssetEventRow) {
  return {
    ...row,
    extra: shown(row.extra),
    timestamp: formatInstant(row.timestamp),
    created_dagruns: row.created_dagruns.map((run) => ({
      ...run,
      logical_date: instantOrNull(run.logical_date),
      start_date: instantOrNull(run.start_date),
      end_date: instantOrNull(run.end_date),
      data_interval_start: instantOrNull(run.data_interval_start),
      data_interval_end: instantOrNull(run.data_interval_end),
    })),
  };
}
