import { instantFromMicros } from "../../kit/instant.ts";
import { formatTime } from "../timetable/format-time.ts";
import type { TimeZone } from "../timetable/time-zone.ts";
import { MappingError } from "./mapping-error.ts";
import { parseTime, type ReadTime } from "./parse-time.ts";
import { PLAIN_KEYS, type Decoded, type PartitionMapper } from "./partition-mapper.ts";

/** `airflow.partition_mappers.temporal`: keys that are times, brought to the start of a period. */

export interface TemporalOptions {
  zone: TimeZone;
  inputFormat: string;
  outputFormat: string;
  maxDownstreamKeys: number | null;
}

type Startable = "Hour" | "Day" | "Week" | "Month" | "Quarter" | "Year";

const HOUR = 3_600_000_000;
const DAY = 24 * HOUR;

const START_OF: Record<Startable, (wall: number) => number> = {
  Hour: (wall) => wall - mod(wall, HOUR),
  Day: startOfDay,
  Week: (wall) => startOfDay(wall) - weekday(wall) * DAY,
  Month: (wall) => startOfMonth(wall, (month) => month),
  Quarter: (wall) => startOfMonth(wall, (month) => month - (month % 3)),
  Year: (wall) => startOfMonth(wall, () => 0),
};

export const DEFAULT_OUTPUT_FORMATS: Record<Startable, string> = {
  Hour: "%Y-%m-%dT%H",
  Day: "%Y-%m-%d",
  Week: "%Y-%m-%d (W%V)",
  Month: "%Y-%m",
  Quarter: "%Y-Q{quarter}",
  Year: "%Y",
};

export function temporalMapper(period: Startable, options: TemporalOptions): PartitionMapper {
  const { zone, inputFormat, outputFormat, maxDownstreamKeys } = options;
  const normalize = START_OF[period];
  const write = (wall: number): string => {
    const text = formatWall(outputFormat, wall, zone);
    return period === "Quarter" ? text.replaceAll("{quarter}", String(quarterOf(wall))) : text;
  };
  const decode = decoderOf(period, outputFormat);
  return {
    ...PLAIN_KEYS,
    className: `StartOf${period}Mapper`,
    maxDownstreamKeys,
    toDownstream(key) {
      const { wall, offset } = parseTime(key, inputFormat);
      // A time that the clock jumps over moves on, as pendulum has it.
      const moment = offset === null ? zone.toMoment(wall) : wall - offset;
      return write(normalize(zone.toWall(moment)));
    },
    decodeDownstream: decode,
    encodeUpstream(decoded) {
      const { wall, offset } = timeOf(decoded);
      const naive = offset === null ? wall : zone.toWall(wall - offset);
      return formatTime(inputFormat, zone.toMoment(naive), zone);
    },
    toPartitionDate(key) {
      const { wall, offset } = decode(key);
      const start = normalize(wall);
      return instantFromMicros(offset === null ? zone.toMoment(start) : start - offset);
    },
    format: (decoded) => write(timeOf(decoded).wall),
  };
}

/** %V and {quarter} are nothing that strptime reads: a week is read from its date, a quarter from its number. */
function decoderOf(period: Startable, format: string): (key: string) => ReadTime {
  if (period !== "Week" && period !== "Quarter") return (key) => parseTime(key, format);
  const pattern = keyPattern(format);
  const needs = period === "Week" ? ["Y", "m", "d"] : ["Y", "quarter"];
  const what = period === "Week" ? "the %Y, %m and %d directives" : "the %Y directive and the {quarter} placeholder";
  return (key) => {
    const groups: Record<string, string | undefined> = pattern.exec(key)?.groups ?? {};
    if (needs.some((name) => groups[name] === undefined)) {
      throw new MappingError(
        `StartOf${period}Mapper.decode_downstream could not parse '${key}' with output_format '${format}'; ` +
          `output_format must include ${what}.`,
      );
    }
    const year = Number(groups["Y"]);
    const month = period === "Week" ? Number(groups["m"]) - 1 : (Number(groups["quarter"]) - 1) * 3;
    const day = period === "Week" ? Number(groups["d"]) : 1;
    const at = new Date(Date.UTC(2000, 0, 1)).setUTCFullYear(year, month, day);
    if (new Date(at).getUTCDate() !== day) throw new MappingError("day is out of range for month");
    return { wall: at * 1000, offset: null };
  };
}

/** `_compile_output_format_regex`. */
function keyPattern(format: string): RegExp {
  const seen = new Set<string>();
  const source = format.replace(
    /%([YmdHMSVUW])|\{(\w+)\}|[\\^$.*+?()[\]{}|/-]/g,
    (whole, directive?: string, name?: string) => {
      const group = directive ?? name;
      if (group === undefined) return `\\${whole}`;
      if (seen.has(group)) throw new MappingError(`output_format '${format}' reuses ${whole}`);
      seen.add(group);
      return `(?<${group}>${directive === "Y" ? "\\d{4}" : directive ? "\\d{2}" : group === "quarter" ? "[1-4]" : "\\w+"})`;
    },
  );
  return new RegExp(`^${source}$`);
}

export function timeOf(decoded: Decoded): ReadTime {
  if (typeof decoded === "string") throw new MappingError(`not a time: '${decoded}'`, "TypeError");
  return decoded;
}

/** A wall-clock time as it stands, even one that the clock jumps over. */
function formatWall(format: string, wall: number, zone: TimeZone): string {
  if (/%[zZ]/.test(format)) return formatTime(format, zone.toMoment(wall), zone);
  return formatTime(format, wall, { name: zone.name, toWall: (at) => at, toMoment: (at) => at });
}

function startOfDay(wall: number): number {
  return wall - mod(wall, DAY);
}

function startOfMonth(wall: number, month: (month: number) => number): number {
  const at = new Date(Math.floor(wall / 1000));
  return at.setUTCMonth(month(at.getUTCMonth()), 1) && at.setUTCHours(0, 0, 0, 0) * 1000;
}

/** Monday is 0. */
function weekday(wall: number): number {
  return (new Date(Math.floor(wall / 1000)).getUTCDay() + 6) % 7;
}

function quarterOf(wall: number): number {
  return Math.floor(new Date(Math.floor(wall / 1000)).getUTCMonth() / 3) + 1;
}

function mod(value: number, by: number): number {
  return ((value % by) + by) % by;
}
