import Fastify from "fastify";
import { expect, it } from "vitest";
import { registerCompression } from "./compression.ts";
import { registerRevalidation } from "./revalidation.ts";

it("answers 304 to whoever has the answer already, also where it is sent compressed", async () => {
  const app = Fastify();
  registerRevalidation(app);
  registerCompression(app);
  let text = "a".repeat(5000);
  app.get("/", async () => ({ text }));
  app.get("/own", async (_request, reply) => reply.header("cache-control", "no-store").send({ text }));
  const get = (url: string, headers: Record<string, string> = {}) => app.inject({ url, headers });

  const first = await get("/", { "accept-encoding": "br" });
  expect(first.headers).toMatchObject({ "content-encoding": "br", "cache-control": "private, no-cache" });
  const tag = String(first.headers["etag"]);
  const again = await get("/", { "if-none-match": `"other", ${tag}`, "accept-encoding": "br" });
  expect([again.statusCode, again.body, again.headers["etag"]]).toEqual([304, "", tag]);
  expect(again.headers["content-encoding"]).toBeUndefined();
  text = "b";
  const changed = await get("/", { "if-none-match": tag });
  expect([changed.statusCode, changed.json()]).toEqual([200, { text: "b" }]);
  expect((await get("/own")).headers["etag"]).toBeUndefined();
  await app.close();
});
