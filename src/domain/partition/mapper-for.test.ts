import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { pythonIsoFormat } from "../../kit/instant.ts";
import type { JsonValue } from "../../kit/json-text.ts";
import { mapperFor } from "./mapper-for.ts";
import { MappingError } from "./mapping-error.ts";

interface Vector {
  mapper: { __type: string; __var: JsonValue };
  keys: Record<string, unknown>;
  dates: Record<string, unknown>;
  upstream?: Record<string, unknown>;
}

const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf8")) as Vector[];

function attempt(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof MappingError)) throw error;
    return { error: `${error.pythonName}: ${error.message}` };
  }
}

describe("partition mappers map as Airflow's", () => {
  const named = vectors.map(
    (vector) => [`${vector.mapper.__type} ${JSON.stringify(vector.mapper.__var)}`, vector] as const,
  );
  it.each(named)("%s", (_name, vector) => {
    const mapper = mapperFor(vector.mapper);
    for (const [key, expected] of Object.entries(vector.keys)) {
      expect(
        attempt(() => mapper.toDownstream(key)),
        key,
      ).toEqual(expected);
    }
    for (const [key, expected] of Object.entries(vector.dates)) {
      const date = attempt(() => mapper.toPartitionDate(key));
      expect(typeof date === "string" ? pythonIsoFormat(date as never) : date, key).toEqual(expected);
    }
    for (const [key, expected] of Object.entries(vector.upstream ?? {})) {
      expect(
        attempt(() => [...(mapper.rollup?.toUpstream(key) ?? [])].sort()),
        key,
      ).toEqual(expected);
    }
  });
});

describe("what a rollup waits for", () => {
  const rollup = (policy: object) =>
    mapperFor({
      __type: "airflow.partition_mappers.base.RollupMapper",
      __var: {
        upstream_mapper: {
          __type: "airflow.partition_mappers.fixed_key.FixedKeyMapper",
          __var: { downstream_key: "all" },
        },
        window: { __type: "airflow.partition_mappers.window.SegmentWindow", __var: { segments: ["a", "b", "c"] } },
        wait_policy: policy as JsonValue,
      },
    }).rollup;
  const wait = (name: string, data: object) => ({
    __type: `airflow.partition_mappers.wait_policy.${name}`,
    __var: data,
  });
  const check = (policy: object, received: string[]) =>
    rollup(policy)?.isSatisfied(new Set(received), rollup(policy)?.toUpstream("all") ?? new Set());

  it("waits for all, for some, or in vain", () => {
    expect(check(wait("WaitForAll", {}), ["a", "b", "x"])?.satisfied).toBe(false);
    expect(check(wait("WaitForAll", {}), ["a", "b", "c", "x"])?.satisfied).toBe(true);
    expect(check(wait("MinimumCount", { n: 2 }), ["a", "x"])?.satisfied).toBe(false);
    expect(check(wait("MinimumCount", { n: 2 }), ["a", "b"])?.satisfied).toBe(true);
    expect(check(wait("MinimumCount", { n: -1 }), ["a", "b"])?.satisfied).toBe(true);
    expect(check(wait("MinimumCount", { n: -1 }), ["a"])?.satisfied).toBe(false);
    expect(check(wait("MinimumCount", { n: 4 }), ["a", "b", "c"])).toEqual({
      satisfied: false,
      unreachable: "wait policy MinimumCount(n=4) can never be satisfied given the window's cardinality 3",
    });
  });

  it("maps nothing with a class of the user's own, and says so", () => {
    const mapper = mapperFor({ __type: "mine.Mapper", __var: {} });
    expect(() => mapper.toDownstream("a")).toThrow("Leoflow cannot run the partition mapper mine.Mapper");
  });
});
