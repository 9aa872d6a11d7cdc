import { instantFromMicros, type Instant } from "../../kit/instant.ts";
import type { ReadTime } from "./parse-time.ts";

/** What a key stands for: itself, or a time. */
export type Decoded = string | ReadTime;

/** Maps keys of asset events to partitions of the DAG that waits for them: `airflow.partition_mappers`. */
export interface PartitionMapper {
  /** Python's class name. */
  className: string;
  /** How many keys one key may map to; null: the default. */
  maxDownstreamKeys: number | null;
  /** One key, or the keys it fans out to. Throws MappingError. */
  toDownstream(key: string): string | readonly string[];
  decodeDownstream(key: string): Decoded;
  encodeUpstream(decoded: Decoded): string;
  /** The start of the period a downstream key stands for; null when keys mean no time. */
  toPartitionDate(key: string): Instant | null;
  /** The partition date of the run that made the event is that of the run it is for. */
  carriesPartitionDate: boolean;
  /** As a key of this mapper, where it can write a decoded one. */
  format: ((decoded: Decoded) => string) | null;
  /** Set where several upstream keys make one downstream key. */
  rollup: Rollup | null;
}

export interface Rollup {
  /** All keys that make this one. Throws MappingError. */
  toUpstream(key: string): ReadonlySet<string>;
  isSatisfied(received: ReadonlySet<string>, expected: ReadonlySet<string>): Satisfaction;
}

/** `unreachable`: why it can never be satisfied. */
export interface Satisfaction {
  satisfied: boolean;
  unreachable: string | null;
}

/** What plain keys do: they stand for themselves. */
export const PLAIN_KEYS = {
  maxDownstreamKeys: null,
  decodeDownstream: (key: string): Decoded => key,
  encodeUpstream: decodedText,
  toPartitionDate: (): Instant | null => null,
  carriesPartitionDate: false,
  format: null,
  rollup: null,
};

/** A key as it is; a time as Python's `isoformat` writes it. */
export function decodedText(decoded: Decoded): string {
  if (typeof decoded === "string") return decoded;
  const naive = instantFromMicros(decoded.wall)
    .slice(0, -1)
    .replace(/\.000000$/, "");
  if (decoded.offset === null) return naive;
  const minutes = Math.abs(decoded.offset) / 60_000_000;
  const two = (value: number): string => String(Math.floor(value)).padStart(2, "0");
  return `${naive}${decoded.offset < 0 ? "-" : "+"}${two(minutes / 60)}:${two(minutes % 60)}`;
}
