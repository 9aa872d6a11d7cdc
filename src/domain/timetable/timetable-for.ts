import { parseInstant } from "../../kit/instant.ts";
import type { JsonValue } from "../../kit/json-text.ts";
import type { SerializedTimetable } from "../dag-graph.ts";
import { flagOr, isObject, numberOr, objectOf, textOr, textsOf } from "../serialized-value.ts";
import { Cron } from "./cron.ts";
import { cronDataInterval, deltaDataInterval } from "./data-interval.ts";
import { parseDelta, printDelta } from "./delta.ts";
import { cronRhythm, deltaRhythm, NoSuchTimeError, type Rhythm } from "./rhythm.ts";
import {
  assetOrTimeTimetable,
  assetTimetable,
  continuousTimetable,
  eventsTimetable,
  nullTimetable,
  onceTimetable,
} from "./simple.ts";
import { timeZone, type TimeZone } from "./time-zone.ts";
import type { BuiltinTimetable, Timetable } from "./timetable.ts";
import {
  cronPartition,
  cronTicks,
  deltaTicks,
  multipleTimetable,
  triggerTimetable,
  type RunImmediately,
} from "./trigger.ts";

type Data = Record<string, JsonValue>;

/** Airflow's `cron_presets`; it names no other. */
const PRESETS: Record<string, string> = {
  "@hourly": "0 * * * *",
  "@daily": "0 0 * * *",
  "@weekly": "0 0 * * 0",
  "@monthly": "0 0 1 * *",
  "@quarterly": "0 0 1 */3 *",
  "@yearly": "0 0 1 1 *",
};

/** Throws RangeError when a timetable of Airflow's own makes no sense: a bad cron expression, an unknown time zone. */
export function timetableFor(serialized: SerializedTimetable): Timetable {
  const { type, data } = serialized;
  const found = /^airflow\.timetables\.[a-z_]+\.(\w+)$/.exec(type);
  const made = found && MAKERS[found[1] ?? ""]?.(data);
  if (made) return forgiving(made);
  return { kind: "custom", serialized, typeName: type, summary: type.split(".").at(-1) ?? type };
}

/** null: a part of it is not built in. */
const MAKERS: Record<string, (data: Data) => BuiltinTimetable | null> = {
  NullTimetable: () => nullTimetable("NullTimetable", "None"),
  PartitionedAtRuntime: () => nullTimetable("PartitionedAtRuntime", "PartitionedAtRuntime"),
  OnceTimetable: onceTimetable,
  ContinuousTimetable: continuousTimetable,
  AssetTriggeredTimetable: () => assetTimetable("AssetTriggeredTimetable", "Asset"),
  PartitionedAssetTimetable: () => assetTimetable("PartitionedAssetTimetable", "Partitioned Asset", true),
  AssetOrTimeSchedule(data) {
    const inner = isObject(data["timetable"]) ? data["timetable"] : {};
    const timetable = timetableFor({ type: textOr(inner["__type"], ""), data: objectOf(inner["__var"]) });
    return timetable.kind === "custom" ? null : assetOrTimeTimetable(timetable);
  },
  EventsTimetable(data) {
    const dates = textsOf(data["event_dates"]).map(parseInstant).sort();
    const summary = textOr(data["_summary"], null) ?? textOr(data["description"], null) ?? `${dates.length} events`;
    return eventsTimetable({ dates, restrictToEvents: flagOr(data["restrict_to_events"], false), summary });
  },
  CronDataIntervalTimetable(data) {
    const { rhythm, expression } = cronOf(data);
    return cronDataInterval(rhythm, expression);
  },
  DeltaDataIntervalTimetable(data) {
    const delta = parseDelta(data["delta"]);
    return deltaDataInterval(deltaRhythm(delta), delta, printDelta(delta));
  },
  CronTriggerTimetable: cronTrigger,
  DeltaTriggerTimetable(data) {
    const delta = parseDelta(data["delta"]);
    const ticks = deltaTicks(deltaRhythm(delta));
    return triggerTimetable("DeltaTriggerTimetable", printDelta(delta), ticks, parseDelta(data["interval"]));
  },
  MultipleCronTriggerTimetable: (data) =>
    multipleTimetable(textsOf(data["expressions"]).map((expression) => cronTrigger({ ...data, expression }))),
  CronPartitionTimetable(data) {
    const { rhythm, expression, zone } = cronOf(data);
    const ticks = cronTicks(rhythm, runImmediatelyOf(data));
    const keyFormat = textOr(data["key_format"], "%Y-%m-%dT%H:%M:%S");
    return cronPartition(expression, ticks, { zone, offset: numberOr(data["run_offset"], 0), keyFormat });
  },
};

function cronTrigger(data: Data): BuiltinTimetable {
  const { rhythm, expression } = cronOf(data);
  const ticks = cronTicks(rhythm, runImmediatelyOf(data));
  return triggerTimetable("CronTriggerTimetable", expression, ticks, parseDelta(data["interval"]));
}

function cronOf(data: Data): { rhythm: Rhythm; expression: string; zone: TimeZone } {
  const written = textOr(data["expression"], "");
  const expression = PRESETS[written] ?? written;
  const zone = timeZone(numberOr(data["timezone"], null) ?? textOr(data["timezone"], "UTC"));
  return { rhythm: cronRhythm(new Cron(expression), zone), expression, zone };
}

function runImmediatelyOf(data: Data): RunImmediately {
  const value = data["run_immediately"];
  if (typeof value === "number") return value * 1_000_000;
  return typeof value === "boolean" ? value : null;
}

/** A schedule that runs out of times schedules nothing. */
function forgiving(timetable: BuiltinTimetable): BuiltinTimetable {
  return {
    ...timetable,
    nextRun(input) {
      try {
        return timetable.nextRun(input);
      } catch (error) {
        if (error instanceof NoSuchTimeError) return null;
        throw error;
      }
    },
  };
}
