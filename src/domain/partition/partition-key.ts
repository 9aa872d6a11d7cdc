import { instantFromMicros, instantMicros, type Instant } from "../../kit/instant.ts";
import type { SerializedTimetable } from "../dag-graph.ts";
import { leavesOf } from "../asset/asset-condition.ts";
import { numberOr, textOr } from "../serialized-value.ts";
import { timeZone } from "../timetable/time-zone.ts";
import { MappingError } from "./mapping-error.ts";
import { parseTime } from "./parse-time.ts";
import { assetConditionOf, partitionedSchedule } from "./partitioned-schedule.ts";

/** Whether runs of such a DAG have a partition: those of users' own timetables as their class says. */
export function isPartitioned(timetable: SerializedTimetable): boolean {
  return /\.(CronPartitionTimetable|PartitionedAssetTimetable|PartitionedAtRuntime)$/.test(timetable.type);
}

const MAX_LENGTH = 250;

/** The date that a key names to a DAG's timetable, null when it names none. Throws MappingError on a key that is none. */
export function dateOfPartitionKey(timetable: SerializedTimetable, key: string): Instant | null {
  if (key.trim() === "") throw new MappingError("partition_key must not be empty or whitespace-only.");
  if (key.length > MAX_LENGTH) {
    throw new MappingError(`partition_key must be at most ${MAX_LENGTH} characters; got ${key.length}.`);
  }
  if (timetable.type.endsWith(".CronPartitionTimetable")) return dateOfCronKey(timetable, key);
  const schedule = partitionedSchedule(timetable);
  const condition = schedule && assetConditionOf(timetable);
  if (!schedule || !condition) return null;
  const dates = new Set<Instant>();
  for (const leaf of leavesOf(condition)) {
    if (leaf.kind === "alias") continue;
    try {
      const date = schedule.mapperOf(leaf).toPartitionDate(key);
      if (date !== null) dates.add(date);
    } catch (error) {
      if (!(error instanceof MappingError)) throw error;
      throw new MappingError(`Partition key '${key}' is invalid for this timetable's mappers: ${error.message}`);
    }
  }
  const [date = null] = dates;
  return dates.size === 1 ? date : null;
}

function dateOfCronKey({ data }: SerializedTimetable, key: string): Instant {
  const format = textOr(data["key_format"], "%Y-%m-%dT%H:%M:%S");
  const zone = timeZone(numberOr(data["timezone"], null) ?? textOr(data["timezone"], "UTC"));
  try {
    const { wall, offset } = parseTime(key, format);
    return instantFromMicros(offset === null ? zone.toMoment(wall) : wall - offset);
  } catch (error) {
    if (!(error instanceof MappingError)) throw error;
    throw new MappingError(
      `Partition key '${key}' does not match the timetable's key_format '${format}': ${error.message}`,
    );
  }
}

/** A wall-clock time as a bound of partition dates: in the zone of the timetable's cron, else UTC. */
export function partitionBound(timetable: SerializedTimetable, wall: Instant): Instant {
  if (!timetable.type.endsWith(".CronPartitionTimetable")) return wall;
  const { data } = timetable;
  const zone = timeZone(numberOr(data["timezone"], null) ?? textOr(data["timezone"], "UTC"));
  return instantFromMicros(zone.toMoment(instantMicros(wall)));
}

/** Whether runs of such a DAG have a partition date: those whose partitions are made up at run time have none. */
export function hasPartitionDates(timetable: SerializedTimetable): boolean {
  return isPartitioned(timetable) && !timetable.type.endsWith(".PartitionedAtRuntime");
}
