import { sql, type Expression, type RawBuilder, type SelectQueryBuilder, type SqlBool } from "kysely";
import { LargeCounts } from "./large-counts.ts";

/**
 * What collections share: ranges, patterns, ordering, pages and cursors as SQL conditions. Columns come as expressions that the
 * caller wrote (`sql.ref("dag_run.start_date")`), values are always bound.
 */

export type Condition = Expression<SqlBool>;
export type Column = Expression<unknown>;

export interface Page {
  limit: number;
  offset: number;
}

export interface Order {
  /** A key of the caller's sortable columns. */
  by: string;
  descending: boolean;
}

export interface Range<T> {
  gte?: T;
  gt?: T;
  lte?: T;
  lt?: T;
}

export interface Patterns {
  /** Anywhere in the value, case-insensitive, `%` and `_` wild, `|` for or. */
  substring?: string;
  /** The value's beginning, case-sensitive, `|` for or. */
  prefix?: string;
}

export function column(name: string): Column {
  return sql.ref(name);
}

export function allOf(conditions: readonly Condition[]): RawBuilder<SqlBool> {
  return conditions.length === 0 ? sql<SqlBool>`true` : sql<SqlBool>`${sql.join(conditions, sql` and `)}`;
}

function anyOf(conditions: readonly Condition[]): Condition {
  return sql<SqlBool>`(${sql.join(conditions, sql` or `)})`;
}

export function inRange<T>(of: Column, range: Range<T> | undefined): Condition[] {
  if (!range) return [];
  const { gte, gt, lte, lt } = range;
  return [
    ...(gte === undefined ? [] : [sql<SqlBool>`${of} >= ${gte}`]),
    ...(gt === undefined ? [] : [sql<SqlBool>`${of} > ${gt}`]),
    ...(lte === undefined ? [] : [sql<SqlBool>`${of} <= ${lte}`]),
    ...(lt === undefined ? [] : [sql<SqlBool>`${of} < ${lt}`]),
  ];
}

/** start_date and end_date: what has not started or ended yet counts as now for an upper bound, and passes a lower one. */
export function inOpenRange<T>(of: Column, range: Range<T> | undefined): Condition[] {
  if (!range) return [];
  const { gte, gt, lte, lt } = range;
  return [
    ...(gte === undefined ? [] : [sql<SqlBool>`(${of} >= ${gte} or ${of} is null)`]),
    ...(gt === undefined ? [] : [sql<SqlBool>`(${of} > ${gt} or ${of} is null)`]),
    ...(lte === undefined ? [] : [sql<SqlBool>`(${of} <= ${lte} or (${of} is null and now() <= ${lte}))`]),
    ...(lt === undefined ? [] : [sql<SqlBool>`(${of} < ${lt} or (${of} is null and now() < ${lt}))`]),
  ];
}

function terms(pattern: string): string[] {
  if (!pattern.includes("|")) return [pattern];
  const parts = pattern
    .split("|")
    .map((part) => part.trim())
    .filter((part) => part !== "");
  return parts.length > 0 ? parts : [pattern];
}

export function matches(of: Column, patterns: Patterns | undefined): Condition[] {
  if (!patterns) return [];
  const { substring, prefix } = patterns;
  return [
    ...(substring === undefined
      ? []
      : [anyOf(terms(substring).map((term) => sql<SqlBool>`${of} ilike ${`%${term}%`}`))]),
    ...(prefix === undefined ? [] : [anyOf(terms(prefix).map((term) => beginsWith(of, term)))]),
  ];
}

// Trailing punctuation is dropped, as Airflow documents for its prefix parameters.
function beginsWith(of: Column, term: string): Condition {
  const literal = term.replace(/[^\p{L}\p{N}]+$/u, "");
  return literal === "" ? sql<SqlBool>`${of} is not null` : sql<SqlBool>`starts_with(${of}, ${literal})`;
}

/** `column in (…)`; no condition for an absent or empty list. */
export function isOneOf(of: Column, values: readonly unknown[] | undefined): Condition[] {
  return values && values.length > 0 ? [sql<SqlBool>`${of} in (${sql.join(values)})`] : [];
}

/** As `isOneOf`, where null stands for "no state yet". */
export function isOneOfOrNull(of: Column, values: readonly (string | null)[] | undefined): Condition[] {
  if (!values || values.length === 0) return [];
  const named = values.filter((value) => value !== null);
  const conditions = isOneOf(of, named);
  return [anyOf(named.length < values.length ? [...conditions, sql<SqlBool>`${of} is null`] : conditions)];
}

/** No condition for undefined or null. */
export function equals(of: Column, value: unknown): Condition[] {
  return value === undefined || value === null ? [] : [sql<SqlBool>`${of} = ${value}`];
}

/** Contains this text literally, case-insensitive. */
export function containsText(of: Column, text: string): Condition {
  return sql<SqlBool>`${of} ilike ${`%${text.replace(/[\\%_]/g, "\\$&")}%`}`;
}

export type Sortable = Readonly<Record<string, Column>>;

export function orderExpressions(
  orders: readonly Order[],
  sortable: Sortable,
  reversed = false,
): RawBuilder<unknown>[] {
  return orders.map(({ by, descending }) =>
    descending !== reversed ? sql`${sortableColumn(sortable, by)} desc` : sql`${sortableColumn(sortable, by)} asc`,
  );
}

function sortableColumn(sortable: Sortable, name: string): Column {
  const found = sortable[name];
  if (!found) throw new Error(`no column to sort by: ${name}`);
  return found;
}

/** One page and the number of all rows that match. The query has no order, limit or grouping of its own. */
export async function paginated<DB, TB extends keyof DB, O>(
  query: SelectQueryBuilder<DB, TB, O>,
  sorting: { orders: readonly Order[]; sortable: Sortable; page: Page },
): Promise<{ rows: O[]; total: number }> {
  const { orders, sortable, page } = sorting;
  let pageQuery = query.limit(page.limit).offset(page.offset);
  for (const expression of orderExpressions(orders, sortable)) pageQuery = pageQuery.orderBy(expression);
  const rows = await pageQuery.execute();
  return { rows, total: await totalOf(rows.length, page, () => countRows(query)) };
}

/** Most pages hold everything there is: then the number of all rows is known without asking. */
export async function totalOf(found: number, page: Page, count: () => Promise<number>): Promise<number> {
  if (found < page.limit && (found > 0 || page.offset === 0)) return page.offset + found;
  return await count();
}

const largeCounts = new LargeCounts();

/** Rows a query without grouping matches; of many, as many as there were a few seconds ago. */
export async function countRows<DB, TB extends keyof DB, O>(query: SelectQueryBuilder<DB, TB, O>): Promise<number> {
  const counted = query.clearSelect().select(sql<number>`count(*)`.as("total")) as unknown as SelectQueryBuilder<
    DB,
    TB,
    { total: number }
  >;
  const { sql: statement, parameters } = counted.compile();
  return await largeCounts.get(
    JSON.stringify([statement, parameters]),
    async () => (await counted.executeTakeFirstOrThrow()).total,
  );
}

/** Sort keys of a row as text: what its cursor carries. Null stays null. */
export function cursorValues(orders: readonly Order[], sortable: Sortable): RawBuilder<(string | null)[]> {
  const keys = orders.map(({ by }) => sql`(${sortableColumn(sortable, by)})::text`);
  return sql`array[${sql.join(keys)}]`;
}

/**
 * Rows strictly after the cursor in the order given (before it, when `backward`). PostgreSQL puts nulls last when
 * ascending and first when descending; the bounds follow that, so the order can use a plain index.
 */
export function afterCursor(
  orders: readonly Order[],
  sortable: Sortable,
  values: readonly (string | null)[],
  backward: boolean,
): Condition {
  let inner: Condition = sql<SqlBool>`false`;
  for (let at = orders.length - 1; at >= 0; at--) {
    const { by, descending } = orders[at] as Order;
    const { atOrAfter, after } = cursorBounds(
      sortableColumn(sortable, by),
      values[at] ?? null,
      descending !== backward,
    );
    inner = at === orders.length - 1 ? after : sql<SqlBool>`(${atOrAfter} and (${after} or ${inner}))`;
  }
  return inner;
}

function cursorBounds(
  of: Column,
  value: string | null,
  descending: boolean,
): { atOrAfter: Condition; after: Condition } {
  if (value === null) {
    return descending
      ? { atOrAfter: sql<SqlBool>`true`, after: sql<SqlBool>`${of} is not null` }
      : { atOrAfter: sql<SqlBool>`${of} is null`, after: sql<SqlBool>`false` };
  }
  return descending
    ? { atOrAfter: sql<SqlBool>`${of} <= ${value}`, after: sql<SqlBool>`${of} < ${value}` }
    : {
        atOrAfter: sql<SqlBool>`(${of} >= ${value} or ${of} is null)`,
        after: sql<SqlBool>`(${of} > ${value} or ${of} is null)`,
      };
}
