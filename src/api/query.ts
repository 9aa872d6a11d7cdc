import { Type, type TNumber, type TOptional, type TString } from "typebox";
import type { Instant } from "../kit/instant.ts";
import type { Order, Page, Patterns, Range } from "../store/filters.ts";
import { ApiError } from "./errors.ts";
import { InstantText, toInstant } from "./schema.ts";

/**
 * The query parameters Airflow's collections share, as TypeBox fragments to spread into a route's `querystring`, and the
 * readers that make plain objects of them for store/filters.ts.
 */

const DEFAULT_LIMIT = 50;
const MAXIMUM_LIMIT = 100;
const MAXIMUM_SORTS = 10;

export const pageQuery = {
  limit: Type.Integer({ minimum: 0, default: DEFAULT_LIMIT }),
  offset: Type.Integer({ minimum: 0, default: 0 }),
};

/** `limit` is capped, never refused: Airflow's clients ask for thousands and page through what they get. */
export function pageOf(query: { limit: number; offset: number }): Page {
  return { limit: Math.min(query.limit, MAXIMUM_LIMIT), offset: query.offset };
}

export const orderByQuery = { order_by: Type.Optional(Type.Array(Type.String())) };

/**
 * Reads `order_by`. `allowed` lists what may be sorted by; `aliases` renames what clients call differently; the primary key
 * is appended, so that pages never overlap.
 */
export function orderOf(
  values: readonly string[] | undefined,
  options: { allowed: readonly string[]; primaryKey: string; aliases?: Record<string, string>; fallback?: string[] },
): Order[] {
  const wanted = values && values.length > 0 ? values : (options.fallback ?? [options.primaryKey]);
  if (wanted.length > MAXIMUM_SORTS) {
    const provided = `[${wanted.map((value) => `'${value}'`).join(", ")}]`;
    throw new ApiError(
      400,
      `Ordering with more than ${MAXIMUM_SORTS} parameters is not allowed. Provided: ${provided}`,
    );
  }
  const orders = wanted.map((value): Order => {
    const given = value.replace(/^-+/, "");
    const by = options.aliases?.[given] ?? given;
    if (!options.allowed.includes(by) && options.aliases?.[given] === undefined && by !== options.primaryKey) {
      throw new ApiError(400, `Ordering with '${by}' is disallowed or the attribute does not exist on the model`);
    }
    return { by, descending: value.startsWith("-") };
  });
  if (!orders.some(({ by }) => by === options.primaryKey)) {
    orders.push({ by: options.primaryKey, descending: orders[0]?.descending ?? false });
  }
  return orders;
}

type Bound = "gte" | "gt" | "lte" | "lt";
const BOUNDS: readonly Bound[] = ["gte", "gt", "lte", "lt"];

/** `<name>_gte`, `_gt`, `_lte`, `_lt` of times. */
export function instantRangeQuery<N extends string>(name: N) {
  return Object.fromEntries(BOUNDS.map((bound) => [`${name}_${bound}`, Type.Optional(InstantText)])) as Record<
    `${N}_${Bound}`,
    TOptional<TString>
  >;
}

/** `<name>_gte`, `_gt`, `_lte`, `_lt` of numbers. */
export function numberRangeQuery<N extends string>(name: N) {
  return Object.fromEntries(BOUNDS.map((bound) => [`${name}_${bound}`, Type.Optional(Type.Number())])) as Record<
    `${N}_${Bound}`,
    TOptional<TNumber>
  >;
}

/** Times of a query, or of a body that has the same four fields. */
export function instantRangeOf<N extends string>(
  given: { [K in `${N}_${Bound}`]?: string | null | undefined },
  name: N,
  part: "query" | "body" = "query",
): Range<Instant> {
  const range: Range<Instant> = {};
  for (const bound of BOUNDS) {
    const text = given[`${name}_${bound}`];
    if (text !== undefined && text !== null) range[bound] = toInstant(text, [part, `${name}_${bound}`]);
  }
  return range;
}

export function numberRangeOf<N extends string>(
  given: { [K in `${N}_${Bound}`]?: number | null | undefined },
  name: N,
): Range<number> {
  const range: Range<number> = {};
  for (const bound of BOUNDS) {
    const value = given[`${name}_${bound}`];
    if (value !== undefined && value !== null) range[bound] = value;
  }
  return range;
}

/** `<name>_pattern` and `<name>_prefix_pattern`. */
export function patternQuery<N extends string>(name: N) {
  return {
    [`${name}_pattern`]: Type.Optional(Type.String()),
    [`${name}_prefix_pattern`]: Type.Optional(Type.String()),
  } as Record<`${N}_pattern` | `${N}_prefix_pattern`, TOptional<TString>>;
}

export function patternsOf<N extends string>(
  query: { [K in `${N}_pattern` | `${N}_prefix_pattern`]?: string | undefined },
  name: N,
): Patterns {
  const substring = query[`${name}_pattern`];
  const prefix = query[`${name}_prefix_pattern`];
  return {
    ...(substring === undefined ? {} : { substring: substring === "~" ? "%" : substring }),
    ...(prefix === undefined ? {} : { prefix: prefix === "~" ? "" : prefix }),
  };
}

export const updateMaskQuery = { update_mask: Type.Optional(Type.Array(Type.String())) };

/** The fields of a PATCH body that count: those given and, with a mask, named by it. Unknown names are ignored, as Airflow does. */
export function masked<T extends object>(body: T, mask: readonly string[] | undefined): Partial<T> {
  if (!mask || mask.length === 0) return body;
  return Object.fromEntries(Object.entries(body).filter(([name]) => mask.includes(name))) as Partial<T>;
}
