import { randomBytes } from "node:crypto";
import type { FastifyReply } from "fastify";
import type { JsonText } from "../kit/json-text.ts";

/** JSON that goes into an answer as it was stored: Python's 60.0 and big integers would not survive JSON.parse. */
export class RawText {
  readonly text: JsonText;

  constructor(text: JsonText) {
    this.text = text;
  }
}

/** As JSON.stringify, with every RawText written out verbatim. */
export function stringifyWithRaw(value: unknown): string {
  const raw: string[] = [];
  // Unguessable, so that no value of a user can be taken for a place to fill.
  const mark = randomBytes(12).toString("base64url");
  const text = JSON.stringify(value, (_key, item: unknown) => {
    if (!(item instanceof RawText)) return item;
    raw.push(item.text);
    return `${mark}:${raw.length - 1}`;
  });
  if (raw.length === 0) return text;
  return text.replace(new RegExp(`"${mark}:(\\d+)"`, "g"), (_found, index: string) => raw[Number(index)] ?? "null");
}

/** Answers with JSON that may hold RawText. */
export function sendRaw(reply: FastifyReply, value: unknown): FastifyReply {
  return reply.type("application/json").send(stringifyWithRaw(value));
}
