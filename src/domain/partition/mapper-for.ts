import type { JsonValue } from "../../kit/json-text.ts";
import { isObject, listOf, numberOr, objectOf, textOr, textsOf, type JsonObject } from "../serialized-value.ts";
import { timeZone } from "../timetable/time-zone.ts";
import { MappingError } from "./mapping-error.ts";
import { decodedText, PLAIN_KEYS, type PartitionMapper, type Satisfaction } from "./partition-mapper.ts";
import { DEFAULT_OUTPUT_FORMATS, temporalMapper } from "./temporal-mapper.ts";
import { windowFor, type Window } from "./window.ts";

const IDENTITY_MAPPER: PartitionMapper = {
  ...PLAIN_KEYS,
  className: "IdentityMapper",
  toDownstream: (key) => key,
  carriesPartitionDate: true,
};

/** Reads an encoded mapper. A class of the user's own is Python code: it maps nothing, and says so. */
export function mapperFor(encoded: JsonValue | undefined): PartitionMapper {
  const { name, data } = typed(encoded);
  const made = name === null ? null : MAKERS[name]?.(data);
  const maxDownstreamKeys = numberOr(data["max_downstream_keys"], null);
  if (made) return { ...made, maxDownstreamKeys };
  const className = isObject(encoded) ? textOr(encoded["__type"], "") : "";
  const fail = (): never => {
    throw new MappingError(`Leoflow cannot run the partition mapper ${className}`, "NotImplementedError");
  };
  return { ...PLAIN_KEYS, className, toDownstream: fail, toPartitionDate: fail };
}

const CORE = /^airflow\.partition_mappers\.[a-z_]+\.(\w+)$/;

function typed(encoded: JsonValue | undefined): { name: string | null; data: JsonObject } {
  if (!isObject(encoded)) return { name: null, data: {} };
  return { name: CORE.exec(textOr(encoded["__type"], ""))?.[1] ?? null, data: objectOf(encoded["__var"]) };
}

type Period = keyof typeof DEFAULT_OUTPUT_FORMATS;

function startOf(period: Period): (data: JsonObject) => PartitionMapper {
  return (data) =>
    temporalMapper(period, {
      zone: timeZone(numberOr(data["timezone"], null) ?? textOr(data["timezone"], "UTC")),
      inputFormat: textOr(data["input_format"], "%Y-%m-%dT%H:%M:%S"),
      outputFormat: textOr(data["output_format"], "") || DEFAULT_OUTPUT_FORMATS[period],
      maxDownstreamKeys: null,
    });
}

const MAKERS: Record<string, (data: JsonObject) => PartitionMapper> = {
  IdentityMapper: () => IDENTITY_MAPPER,
  StartOfHourMapper: startOf("Hour"),
  StartOfDayMapper: startOf("Day"),
  StartOfWeekMapper: startOf("Week"),
  StartOfMonthMapper: startOf("Month"),
  StartOfQuarterMapper: startOf("Quarter"),
  StartOfYearMapper: startOf("Year"),
  FixedKeyMapper: (data) => ({
    ...PLAIN_KEYS,
    className: "FixedKeyMapper",
    toDownstream: () => textOr(data["downstream_key"], ""),
  }),
  AllowedKeyMapper(data) {
    const allowed = textsOf(data["allowed_keys"]);
    return {
      ...PLAIN_KEYS,
      className: "AllowedKeyMapper",
      toDownstream(key) {
        if (allowed.includes(key)) return key;
        throw new MappingError(`Key '${key}' not in allowed keys [${allowed.map((one) => `'${one}'`).join(", ")}]`);
      },
    };
  },
  ChainMapper(data) {
    const mappers = listOf(data["mappers"]).map(mapperFor);
    return {
      ...PLAIN_KEYS,
      className: "ChainMapper",
      toDownstream(key) {
        let keys = [key];
        for (const mapper of mappers) keys = keys.flatMap((one) => mapper.toDownstream(one));
        return keys.length === 1 ? (keys[0] as string) : keys;
      },
      toPartitionDate: (key) => mappers.at(-1)?.toPartitionDate(key) ?? null,
    };
  },
  ProductMapper(data) {
    const mappers = listOf(data["mappers"]).map(mapperFor);
    const delimiter = textOr(data["delimiter"], "|");
    return {
      ...PLAIN_KEYS,
      className: "ProductMapper",
      toDownstream(key) {
        const segments = key.split(delimiter);
        if (segments.length !== mappers.length) {
          throw new MappingError(`Expected ${mappers.length} segments in key, got ${segments.length}`);
        }
        const mapped = mappers.map((mapper, at) =>
          oneKey(mapper, segments[at] as string, "ProductMapper child mappers"),
        );
        return mapped.join(delimiter);
      },
      toPartitionDate(key) {
        const segments = key.split(delimiter);
        if (segments.length !== mappers.length) return null;
        const dates = mappers
          .map((mapper, at) => mapper.toPartitionDate(segments[at] as string))
          .filter((date) => date !== null);
        return dates.length === 1 ? (dates[0] as (typeof dates)[number]) : null;
      },
    };
  },
  FanOutMapper(data) {
    const upstream = mapperFor(data["upstream_mapper"]);
    const downstream = mapperFor(data["downstream_mapper"]);
    const window = readWindow(data["window"]);
    return {
      ...PLAIN_KEYS,
      className: "FanOutMapper",
      toDownstream(key) {
        const coarse = upstream.decodeDownstream(oneKey(upstream, key, "FanOutMapper.upstream_mapper"));
        return window(coarse).map((item) => (downstream.format ? downstream.format(item) : decodedText(item)));
      },
      toPartitionDate: (key) => downstream.toPartitionDate(key),
    };
  },
  RollupMapper(data) {
    const upstream = mapperFor(data["upstream_mapper"]);
    const window = readWindow(data["window"]);
    const policy = typed(data["wait_policy"]);
    const n = policy.name === "MinimumCount" ? numberOr(policy.data["n"], 1) : null;
    return {
      ...PLAIN_KEYS,
      className: "RollupMapper",
      toDownstream: (key) => upstream.toDownstream(key),
      toPartitionDate: (key) => upstream.toPartitionDate(key),
      rollup: {
        toUpstream: (key) =>
          new Set(window(upstream.decodeDownstream(key)).map((item) => upstream.encodeUpstream(item))),
        isSatisfied: (received, expected) =>
          n === null ? waitForAll(received, expected) : minimumCount(n, received, expected),
      },
    };
  },
};

function oneKey(mapper: PartitionMapper, key: string, who: string): string {
  const mapped = mapper.toDownstream(key);
  if (typeof mapped === "string") return mapped;
  throw new MappingError(
    `${who} must return a single key, but ${mapper.className} returned multiple keys`,
    "TypeError",
  );
}

function readWindow(encoded: JsonValue | undefined): Window {
  const { name, data } = typed(encoded);
  const window =
    name === null
      ? null
      : windowFor(name, { backward: data["direction"] === "backward", segments: textsOf(data["segments"]) });
  if (window) return window;
  const className = isObject(encoded) ? textOr(encoded["__type"], "") : "";
  return () => {
    throw new MappingError(`Leoflow cannot run the window ${className}`, "NotImplementedError");
  };
}

function waitForAll(received: ReadonlySet<string>, expected: ReadonlySet<string>): Satisfaction {
  return { satisfied: [...expected].every((key) => received.has(key)), unreachable: null };
}

/** Of at least `n` keys; a negative `n` says how many may be missing. */
function minimumCount(n: number, received: ReadonlySet<string>, expected: ReadonlySet<string>): Satisfaction {
  const matched = [...expected].filter((key) => received.has(key)).length;
  if (n > expected.size) {
    const why = `wait policy MinimumCount(n=${n}) can never be satisfied given the window's cardinality ${expected.size}`;
    return { satisfied: matched >= n, unreachable: why };
  }
  return { satisfied: matched >= (n > 0 ? n : Math.max(0, expected.size + n)), unreachable: null };
}
