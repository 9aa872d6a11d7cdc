import type { FastifyInstance } from "fastify";
import { loadMigrations } from "../store/migrations.ts";
import { dirtySchemaMessage, lostVerdict, readSchemaOf, type SchemaVerdict } from "../store/schema-status.ts";
import type { ApiContext } from "./context.ts";

/** Longer than this and a database counts as unreachable. */
const ANSWER_MS = 2_000;

export interface Readiness {
  status: "ready" | "not ready";
  /** What is wrong, for a person; absent where all is well. */
  reason?: string;
  database: "ok" | "unreachable" | "schema missing" | "schema behind" | "schema dirty" | "schema unreadable";
  /** The version the database is at; null where it has none, or does not tell. */
  schema_version: number | null;
  /** The version this build brings. */
  newest_schema_version: number;
}

/**
 * `/readyz`: whether this process can serve, for load balancers and `leoflow doctor`; without login. `/healthz`: whether it runs at
 * all. A start refuses a newer schema; here it is fine, because the next release's pods migrate while the old ones still serve.
 */
export function readinessRoutes(app: FastifyInstance, { db }: Pick<ApiContext, "db">, known = loadMigrations()): void {
  const newest = known.at(-1)?.version ?? 0;
  const open = { config: { role: "public" as const } };
  // One question at a time: a database that hangs must not take every connection of the pool.
  let asked: Promise<Readiness> | undefined;
  const ask = () => {
    asked ??= readSchemaOf(db, known)
      .then(
        (verdict) => judge(verdict, newest),
        (error: unknown) => unreachable(error instanceof Error ? error.message : String(error), newest),
      )
      .finally(() => (asked = undefined));
    return asked;
  };
  app.get("/readyz", open, async (_request, reply) => {
    const readiness = await withinTime(ask(), () =>
      unreachable(`it does not answer within ${ANSWER_MS / 1000} s`, newest),
    );
    return reply
      .code(readiness.status === "ready" ? 200 : 503)
      .header("cache-control", "no-store")
      .send(readiness);
  });
  app.get("/healthz", open, async (_request, reply) =>
    reply.header("cache-control", "no-store").send({ status: "ok" }),
  );
}

function judge(verdict: SchemaVerdict, newest: number): Readiness {
  const notReady = (database: Readiness["database"], version: number | null, reason: string): Readiness => ({
    status: "not ready",
    reason,
    database,
    schema_version: version,
    newest_schema_version: newest,
  });
  switch (verdict.kind) {
    case "newer":
      return ready(verdict.current, newest);
    case "dirty":
      // Above our own version it is another release's migration in its middle: not ours to judge.
      if (verdict.version > newest) return ready(verdict.version, newest);
      return notReady("schema dirty", verdict.version, dirtySchemaMessage(verdict.version));
    case "unreadable":
      return notReady(verdict === lostVerdict ? "schema missing" : "schema unreadable", null, verdict.problem);
    case "readable": {
      const { current, pending } = verdict;
      if (pending.length === 0) return ready(current, newest);
      if (current === 0) return notReady("schema missing", null, "the database has no schema: it was never migrated");
      const reason = `the database is at schema version ${current}, this build needs ${newest}`;
      return notReady("schema behind", current, `${reason}: it was not migrated, or an older backup was restored`);
    }
  }
}

function ready(version: number, newest: number): Readiness {
  return { status: "ready", database: "ok", schema_version: version, newest_schema_version: newest };
}

function unreachable(reason: string, newest: number): Readiness {
  return {
    status: "not ready",
    reason: `the database cannot be reached: ${reason}`,
    database: "unreachable",
    schema_version: null,
    newest_schema_version: newest,
  };
}

async function withinTime(work: Promise<Readiness>, late: () => Readiness): Promise<Readiness> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<Readiness>((done) => {
    timer = setTimeout(() => done(late()), ANSWER_MS);
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}
