import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { acceptedEncoding } from "./compression.ts";
import { userOf } from "./context.ts";
import { isFresh } from "./revalidation.ts";

/** What the UI's pages poll, and scripts with them. Each depends on the request, the user and the database, and on nothing else. */
export const UNCHANGED_ROUTES: ReadonlySet<string> = new Set([
  "/ui/dashboard/dag_stats",
  "/ui/dags",
  "/ui/grid/structure/:dag_id",
  "/ui/grid/runs/:dag_id",
  "/ui/grid/ti_summaries/:dag_id",
  "/ui/structure/structure_data",
  "/ui/gantt/:dag_id/:run_id",
  "/api/v2/dags",
  "/api/v2/dags/:dag_id/dagRuns",
  "/api/v2/dags/:dag_id/dagRuns/:dag_run_id/taskInstances",
  "/api/v2/dags/:dag_id/tasks",
]);

/** Bounds that are open to "now" move on without a write. */
const KEPT_MS = 5_000;
const MOST_BYTES = 8 * 1024 * 1024;
const KEPT_HEADERS = ["content-type", "content-encoding", "vary", "etag", "cache-control"] as const;

interface Answer {
  snapshot: string;
  until: number;
  tag: string;
  headers: Partial<Record<(typeof KEPT_HEADERS)[number], string>>;
  body: string | Buffer;
}

type Asked = FastifyRequest & { unanswered?: { key: string; snapshot: string } };

/**
 * Gives the answer of a moment ago again while nothing was written to the database since: pages ask every few seconds, from
 * every tab, and mostly nothing has happened. Costs those who ask after a change one more round trip. Comes after the hooks
 * that sign in, tag and pack. `readSnapshot` answers another text once something was written.
 */
export function registerUnchangedAnswers(app: FastifyInstance, readSnapshot: () => Promise<string>): void {
  const answers = new Answers();
  app.addHook("onRequest", async (request: Asked, reply) => {
    if (request.method !== "GET" || !UNCHANGED_ROUTES.has(request.routeOptions.url ?? "")) return;
    const snapshot = await readSnapshot();
    const { name, role, teams = [] } = userOf(request);
    const encoding = acceptedEncoding(request.headers["accept-encoding"]);
    const key = JSON.stringify([name, role, teams, encoding, request.url]);
    const answer = answers.get(key, snapshot);
    if (answer) return again(request, reply, answer);
    request.unanswered = { key, snapshot };
  });
  app.addHook("onSend", async (request: Asked, reply, body: unknown) => {
    const { unanswered } = request;
    if (unanswered && reply.statusCode === 200 && (typeof body === "string" || Buffer.isBuffer(body))) {
      answers.keep(unanswered.key, unanswered.snapshot, reply, body);
    }
    return body;
  });
}

function again(request: FastifyRequest, reply: FastifyReply, { headers, body, tag }: Answer): FastifyReply {
  void reply.headers(headers);
  if (!isFresh(request, tag)) return reply.send(body);
  return reply.code(304).removeHeader("content-type").removeHeader("content-encoding").send("");
}

class Answers {
  readonly #kept = new Map<string, Answer>();
  #bytes = 0;

  get(key: string, snapshot: string): Answer | undefined {
    const answer = this.#kept.get(key);
    if (answer?.snapshot === snapshot && performance.now() < answer.until) return answer;
    if (answer) this.#drop(key, answer);
    return undefined;
  }

  keep(key: string, snapshot: string, reply: FastifyReply, body: string | Buffer): void {
    const headers: Answer["headers"] = {};
    for (const name of KEPT_HEADERS) {
      const value = reply.getHeader(name);
      if (value !== undefined) headers[name] = String(value);
    }
    const tag = /"(.+)"/.exec(headers.etag ?? "")?.[1];
    if (tag === undefined || body.length > MOST_BYTES / 8) return;
    const before = this.#kept.get(key);
    if (before) this.#drop(key, before);
    this.#kept.set(key, { snapshot, until: performance.now() + KEPT_MS, tag, headers, body });
    this.#bytes += body.length;
    for (const [oldest, answer] of this.#kept) {
      if (this.#bytes <= MOST_BYTES) break;
      this.#drop(oldest, answer);
    }
  }

  #drop(key: string, answer: Answer): void {
    this.#kept.delete(key);
    this.#bytes -= answer.body.length;
  }
}
