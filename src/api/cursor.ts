import type { Order } from "../store/filters.ts";
import { badRequest } from "./errors.ts";

/** Where a page by cursor begins: after (or before) the row with these sort keys. The token is opaque to clients. */
export interface Cursor {
  values: (string | null)[];
  backward: boolean;
}

const BACKWARD = "~";

/** The token of the page after the row with these sort keys. */
export function encodeCursor(values: readonly (string | null)[]): string {
  return Buffer.from(JSON.stringify(values)).toString("base64url");
}

/** The token of the page before the row with these sort keys. */
export function encodeBackwardCursor(values: readonly (string | null)[]): string {
  return BACKWARD + encodeCursor(values);
}

/** null for the first page. Throws Airflow's 400 for a token of another query or of none at all. */
export function decodeCursor(token: string, orders: readonly Order[]): Cursor | null {
  if (token === "") return null;
  const backward = token.startsWith(BACKWARD);
  let values: unknown;
  try {
    values = JSON.parse(Buffer.from(backward ? token.slice(BACKWARD.length) : token, "base64url").toString());
  } catch {
    throw badRequest("Invalid cursor token");
  }
  if (!Array.isArray(values)) throw badRequest("Invalid cursor token structure");
  if (values.length !== orders.length) throw badRequest("Cursor token does not match current query shape");
  if (!values.every(isKey)) throw badRequest("Invalid cursor token");
  return { values, backward };
}

function isKey(value: unknown): value is string | null {
  return value === null || typeof value === "string";
}
