import type { FastifyInstance, FastifyRequest } from "fastify";
import { unprocessable } from "./errors.ts";

const texts = new WeakMap<FastifyRequest, string>();

/** The body as it was sent: numbers such as 60.0 and big integers are still what the client wrote. */
export function bodyText(request: FastifyRequest): string {
  return texts.get(request) ?? "";
}

/**
 * Bodies are JSON whatever their content type says, as clients forget it (`curl -d`); a form is read as a flat object. An
 * empty body is `undefined`: a route whose schema wants one answers 422.
 */
export function registerBodyParsers(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string" }, (request, text, done) => {
    const body = text as string;
    texts.set(request, body);
    if (body.trim() === "") return done(null, undefined);
    const isForm = request.headers["content-type"]?.startsWith("application/x-www-form-urlencoded");
    if (isForm && !/^\s*[[{]/.test(body)) return done(null, Object.fromEntries(new URLSearchParams(body)));
    try {
      done(null, JSON.parse(body) as unknown);
    } catch (error) {
      done(jsonInvalid(error));
    }
  });
}

function jsonInvalid(error: unknown): Error {
  const reason = error instanceof Error ? error.message : String(error);
  const position = Number(/position (\d+)/.exec(reason)?.[1] ?? 0);
  return unprocessable([
    { type: "json_invalid", loc: ["body", position], msg: "JSON decode error", input: {}, ctx: { error: reason } },
  ]);
}
