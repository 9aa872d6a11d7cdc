import type { FastifyInstance, FastifyRequest } from "fastify";
import { ApiError, badRequest, unprocessable } from "./errors.ts";

/** Lists and objects in each other. Python's json gives up at about 990; what is read here is walked more than once. */
const MAXIMUM_DEPTH = 500;
/** Members of all lists and objects: their number, not their length, is what keeps everybody else waiting. */
const MAXIMUM_MEMBERS = 500_000;

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
    const fault = faultOf(body);
    if (fault) return done(fault);
    try {
      done(null, JSON.parse(body) as unknown);
    } catch (error) {
      done(jsonInvalid(error));
    }
  });
}

/** What must not even be parsed. */
function faultOf(text: string): ApiError | null {
  if (text.length <= 2 * MAXIMUM_DEPTH) return null;
  let depth = 0;
  let members = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const sign = text[at];
    if (sign === '"') quoted = !quoted;
    else if (quoted) {
      if (sign === "\\") at += 1;
    } else if (sign === "[" || sign === "{") {
      depth += 1;
      // FastAPI's words for what Python's json cannot read.
      if (depth > MAXIMUM_DEPTH) return badRequest("There was an error parsing the body");
    } else if (sign === "]" || sign === "}") depth -= 1;
    else if (sign === ",") {
      members += 1;
      if (members > MAXIMUM_MEMBERS) return new ApiError(413, "Request Entity Too Large");
    }
  }
  return null;
}

function jsonInvalid(error: unknown): Error {
  const reason = error instanceof Error ? error.message : String(error);
  const position = Number(/position (\d+)/.exec(reason)?.[1] ?? 0);
  return unprocessable([
    { type: "json_invalid", loc: ["body", position], msg: "JSON decode error", input: {}, ctx: { error: reason } },
  ]);
}
