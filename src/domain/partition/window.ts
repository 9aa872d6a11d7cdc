import { MappingError } from "./mapping-error.ts";
import type { ReadTime } from "./parse-time.ts";
import type { Decoded } from "./partition-mapper.ts";
import { timeOf } from "./temporal-mapper.ts";

/** Which decoded keys make up one period: `airflow.partition_mappers.window`. */
export type Window = (period: Decoded) => Decoded[];

const MINUTE = 60_000_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

type Step = (time: ReadTime, count: number) => ReadTime;

const by =
  (unit: number): Step =>
  ({ wall, offset }, count) => ({ wall: wall + count * unit, offset });

const byMonth: Step = ({ wall, offset }, count) => {
  const at = new Date(Math.floor(wall / 1000));
  return { wall: at.setUTCMonth(at.getUTCMonth() + count) * 1000, offset };
};

/** null: no window of Airflow's own. */
export function windowFor(name: string, data: { backward: boolean; segments: readonly string[] }): Window | null {
  const { backward } = data;
  const steps = (count: number, step: Step, monthly = false): Window => {
    return (period) => {
      const start = timeOf(period);
      if (monthly) requireDayOne(start, name);
      const base = backward ? step(start, -(count - 1)) : start;
      return Array.from({ length: count }, (_, index) => step(base, index));
    };
  };
  switch (name) {
    case "HourWindow":
      return steps(60, by(MINUTE));
    case "DayWindow":
      return steps(24, by(HOUR));
    case "WeekWindow":
      return steps(7, by(DAY));
    case "QuarterWindow":
      return steps(3, byMonth, true);
    case "YearWindow":
      return steps(12, byMonth, true);
    case "MonthWindow":
      return (period) => {
        const start = timeOf(period);
        requireDayOne(start, name);
        const other = byMonth(start, backward ? -1 : 1);
        const days = Math.abs(other.wall - start.wall) / DAY;
        // Backwards: every day after the first of the month before, up to and with the start.
        return Array.from({ length: days }, (_, index) =>
          by(DAY)(backward ? other : start, backward ? index + 1 : index),
        );
      };
    case "SegmentWindow":
      return () => [...data.segments];
    default:
      return null;
  }
}

function requireDayOne({ wall }: ReadTime, name: string): void {
  const at = new Date(Math.floor(wall / 1000));
  if (at.getUTCDate() === 1) return;
  throw new MappingError(
    `${name} expects a period start on day 1 of the month, got ${at.toISOString().slice(0, 19)}. The paired upstream ` +
      "mapper's decode_downstream must normalise to day 1.",
  );
}
