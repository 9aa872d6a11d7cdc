import { gunzipSync } from "node:zlib";
import Fastify, { type FastifyRequest } from "fastify";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { bareContext } from "../../test/support/api.ts";
import { createTestDatabase } from "../../test/support/database.ts";
import { databaseSnapshot } from "../store/database-snapshot.ts";
import { createApp } from "./app.ts";
import { registerCompression } from "./compression.ts";
import type { User } from "./context.ts";
import { registerRevalidation } from "./revalidation.ts";
import { registerUnchangedAnswers, UNCHANGED_ROUTES } from "./unchanged-answers.ts";

const app = Fastify();
let snapshot = "1:1:";
let user: User;
let computed = 0;
let status = 200;
let beforeAnswer = (): void => undefined;

beforeAll(() => {
  app.addHook("onRequest", async (request) => void ((request as FastifyRequest & { user?: User }).user = user));
  registerRevalidation(app);
  registerCompression(app);
  registerUnchangedAnswers(app, () => Promise.resolve(snapshot));
  const answer = () => {
    beforeAnswer();
    return { computed: ++computed, text: "a".repeat(5000) };
  };
  app.get("/ui/dags", async (_request, reply) => reply.code(status).send(answer()));
  app.get("/ui/config", async () => answer());
});

beforeEach(() => {
  snapshot += "x";
  user = { name: "ann", role: "USER", teams: ["a"] };
  status = 200;
  beforeAnswer = () => undefined;
});

afterAll(() => app.close());

async function ask(url = "/ui/dags", headers: Record<string, string> = {}) {
  const before = computed;
  const answer = await app.inject({ url, headers });
  return { answer, isNew: computed > before };
}

it("gives the same answer again while nothing was written, and a new one after that", async () => {
  const first = await ask();
  const again = await ask();
  expect([first.isNew, again.isNew]).toEqual([true, false]);
  expect(again.answer.json()).toEqual(first.answer.json());
  const { date: _first, ...headers } = first.answer.headers;
  expect(again.answer.headers).toMatchObject(headers);
  snapshot = "2:2:";
  expect((await ask()).isNew).toBe(true);
});

it("packs it as the client takes it, and sends nothing to who has it", async () => {
  await ask("/ui/dags", { "accept-encoding": "gzip" });
  const packed = await ask("/ui/dags", { "accept-encoding": "gzip" });
  expect([packed.isNew, packed.answer.headers["content-encoding"]]).toEqual([false, "gzip"]);
  expect(JSON.parse(gunzipSync(packed.answer.rawPayload).toString())).toMatchObject({ computed });
  const headers = { "if-none-match": String(packed.answer.headers["etag"]), "accept-encoding": "gzip" };
  const had = await ask("/ui/dags", headers);
  expect([had.isNew, had.answer.statusCode, had.answer.body, had.answer.headers["content-encoding"]]).toEqual([
    false,
    304,
    "",
    undefined,
  ]);
  expect((await ask("/ui/dags")).isNew).toBe(true);
});

it("is nobody else's, and of no other question", async () => {
  await ask();
  for (const other of [
    { name: "bob", role: "USER", teams: ["a"] },
    { name: "ann", role: "ADMIN", teams: ["a"] },
    { name: "ann", role: "USER", teams: [] },
  ] satisfies User[]) {
    user = other;
    expect((await ask()).isNew).toBe(true);
  }
  expect((await ask("/ui/dags?limit=1")).isNew).toBe(true);
  await ask("/ui/config");
  expect((await ask("/ui/config")).isNew).toBe(true);
});

it("keeps neither errors nor what was read while something was written", async () => {
  status = 500;
  await ask();
  status = 200;
  expect((await ask()).isNew).toBe(true);
  snapshot = "3:3:";
  beforeAnswer = () => (snapshot = "4:4:");
  await ask();
  beforeAnswer = () => undefined;
  expect((await ask()).isNew).toBe(true);
});

it("is of routes that exist, and sees every write", async () => {
  const database = await createTestDatabase();
  const { db } = database;
  const whole = createApp(bareContext(db, "/nonexistent"), {
    adminEmail: "admin@example.com",
    adminPasswordHash: () => "",
    jwtSecret: "secret",
  });
  await whole.ready();
  for (const url of UNCHANGED_ROUTES) expect(whole.hasRoute({ method: "GET", url }), url).toBe(true);
  const before = await databaseSnapshot(db);
  await sql`insert into variable (key, val) values ('a', 'b')`.execute(db);
  expect(await databaseSnapshot(db)).not.toBe(before);
  await whole.close();
  await database.close();
});
