import { createHash } from "node:crypto";
import type { FastifyInstance } from "fastify";

/**
 * Lets a browser that asks again keep the answer it has: what pages poll is mostly what it was. Answers are never used
 * without asking (`no-cache`), and are nobody else's (`private`).
 */
export function registerRevalidation(app: FastifyInstance): void {
  app.addHook("onSend", async (request, reply, payload: unknown) => {
    if (request.method !== "GET" || reply.statusCode !== 200 || typeof payload !== "string") return payload;
    if (reply.hasHeader("etag") || reply.hasHeader("cache-control")) return payload;
    const tag = `W/"${createHash("sha1").update(payload).digest("base64url")}"`;
    reply.header("etag", tag).header("cache-control", "private, no-cache");
    if (!isNamed(request.headers["if-none-match"], tag)) return payload;
    reply.code(304).removeHeader("content-type").removeHeader("content-length");
    return "";
  });
}

/** Whether `If-None-Match` names the tag; `*` is for what changes something. */
function isNamed(header: string | undefined, tag: string): boolean {
  return header !== undefined && header.split(",").some((each) => each.trim() === tag);
}
