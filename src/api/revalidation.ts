import { createHash } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";

/**
 * Lets a browser that asks again keep the answer it has: what pages poll is mostly what it was. Answers are never used
 * without asking (`no-cache`), and are nobody else's (`private`).
 */
export function registerRevalidation(app: FastifyInstance): void {
  app.addHook("onSend", async (request, reply, payload: unknown) => {
    if (request.method !== "GET" || reply.statusCode !== 200 || typeof payload !== "string") return payload;
    if (reply.hasHeader("etag") || reply.hasHeader("cache-control")) return payload;
    const tag = createHash("sha1").update(payload).digest("base64url");
    reply.header("etag", `W/"${tag}"`).header("cache-control", "private, no-cache");
    if (!isFresh(request, tag)) return payload;
    reply.code(304).removeHeader("content-type").removeHeader("content-length");
    return "";
  });
}

/** Whether the client has what has this tag: `If-None-Match` names it. */
export function isFresh(request: FastifyRequest, tag: string): boolean {
  const given = request.headers["if-none-match"] ?? "";
  return given.split(",").some((one) => one.trim().replace(/^W\//, "") === `"${tag}"`);
}
