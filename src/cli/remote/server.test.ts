import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { readEnvironment } from "../../kit/config.ts";
import { resolvePaths } from "../../lite/paths.ts";
import { waitForRun } from "./wait.ts";
import { apiPath, connectServer, jsonWith, Server, ServerAnswer } from "./server.ts";

const ended: (() => void)[] = [];
afterEach(() => ended.splice(0).forEach((end) => end()));

/** A server that answers as it is told. */
async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<URL> {
  const server = createServer(answer);
  ended.push(() => {
    server.closeAllConnections();
    server.close();
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
}

function clientOf(url: URL, limitMs?: number): Server {
  const place = { url, said: "--server", token: () => "t", tokenFrom: "the token", saved: undefined };
  return new Server(place, new AbortController().signal, limitMs);
}

const json = (response: ServerResponse, status: number, body: unknown) =>
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));

it("pages through a collection, a hundred at a time, as far as it is asked to", async () => {
  const asked: string[] = [];
  const url = await serve((request, response) => {
    asked.push(request.url ?? "");
    const { searchParams } = new URL(request.url ?? "", "http://x");
    const [limit, offset] = [Number(searchParams.get("limit")), Number(searchParams.get("offset"))];
    const rows = Array.from({ length: Math.max(0, Math.min(limit, 250 - offset)) }, (_, at) => offset + at);
    json(response, 200, { rows, total_entries: 250 });
  });
  const all = await clientOf(url).list("/all", "rows", { tags: ["a", "b"], none: undefined }, Infinity);
  expect(all).toEqual({ rows: Array.from({ length: 250 }, (_, at) => at), total: 250 });
  expect(asked).toEqual([0, 100, 200].map((offset) => `/all?tags=a&tags=b&limit=100&offset=${offset}`));
  expect((await clientOf(url).list("/all", "rows", {}, 120)).rows).toHaveLength(120);
});

it("says what no answer, a late one and a broken one are", async () => {
  const silent = await serve(() => undefined);
  await expect(clientOf(silent, 50).get("/x")).rejects.toThrow(`${silent.origin} gave no answer within 0.05 s`);
  const cutting = await serve((request) => request.socket.destroy());
  await expect(clientOf(cutting).get("/x")).rejects.toThrow(`${cutting.origin} closed the connection`);
  const halting = await serve((_request, response) => {
    response.writeHead(200, { "content-type": "application/x-ndjson" }).write('{"state":"queued"}\n');
    setImmediate(() => response.destroy());
  });
  const lines = clientOf(halting).lines("/x");
  expect((await lines.next()).value).toEqual({ state: "queued" });
  await expect(lines.next()).rejects.toThrow(`${halting.origin} closed the connection`);
});

it("waits for a run over a restart of the server, and no longer than it is told to", async () => {
  const answers = [['{"state":"running"}'], ['{"state":"running"}', '{"state":"failed"}']];
  const url = await serve((_request, response) => {
    const lines = answers.shift() ?? ['{"state":"running"}'];
    response.writeHead(200, { "content-type": "application/x-ndjson" }).write(`${lines.join("\n")}\n`);
    setImmediate(() => (answers.length === 1 ? response.destroy() : response.end()));
  });
  const place = { dagId: "d", runId: "r" };
  const ended = await waitForRun(clientOf(url), place);
  expect(ended.state).toBe("failed");
  expect(() => ended.throwIfFailed()).toThrow('run r of "d" failed');
  await expect(waitForRun(clientOf(url), { ...place, seconds: 0.05 })).rejects.toThrow(
    'run r of "d" is still running after 0.05 s',
  );
}, 10_000);

it("makes one line of what a server refuses", async () => {
  const issues = [{ loc: ["body", "from_date"], msg: "Field required" }];
  const details = [issues, { reason: "Unique constraint violation", message: "there already" }, "plain"];
  const url = await serve((request, response) => {
    json(response, 422, { detail: details[Number(request.url?.slice(1))] });
  });
  const refusals = [0, 1, 2].map((index) => clientOf(url).send("POST", `/${index}`, { body: {} }));
  const said = await Promise.all(refusals.map((each) => each.catch((error: unknown) => error as ServerAnswer)));
  expect(said.every((error) => error instanceof ServerAnswer && error.status === 422)).toBe(true);
  expect(said.map((error) => (error as ServerAnswer).detail)).toEqual([
    "from_date: Field required",
    "there already",
    "plain",
  ]);
});

it("encodes what is put into a path, and keeps JSON texts as they are", () => {
  expect(apiPath`/dags/${"a/b c"}/runs/${"m__2026-01-01T00:00:00+00:00"}`).toBe(
    "/dags/a%2Fb%20c/runs/m__2026-01-01T00%3A00%3A00%2B00%3A00",
  );
  expect(jsonWith({ a: null, b: undefined, conf: 1 }, { conf: '{"x": 1.0}' })).toBe('{"a":null,"conf":{"x": 1.0}}');
});

it("exchanges a saved token past half its life, and only that", async () => {
  const home = mkdtempSync(join(tmpdir(), "leoflow-renew-"));
  ended.push(() => rmSync(home, { recursive: true }));
  const asked: string[] = [];
  const url = await serve((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    json(response, 200, { access_token: "fresh.to.ken" });
  });
  const caller = {
    environment: readEnvironment({ LEOFLOW_HOME: home, HOME: home }),
    paths: resolvePaths(home),
    signal: new AbortController().signal,
  };
  const now = Math.floor(Date.now() / 1000);
  const tokenOf = (age: number, life: number) =>
    `h.${Buffer.from(JSON.stringify({ iat: now - age, exp: now - age + life })).toString("base64url")}.s`;
  const file = join(home, "config.yaml");
  for (const token of [tokenOf(0, 9000), tokenOf(9000, 9000), "not.a.token"]) {
    writeFileSync(file, `server_url: ${url.origin}\ntoken: ${token}\n`);
    await connectServer(caller);
  }
  expect(asked).toEqual([]);
  writeFileSync(file, `# mine\nserver_url: ${url.origin}\ntoken: ${tokenOf(6000, 9000)}\n`);
  await connectServer(caller);
  expect(asked).toEqual(["POST /ui/auth/token"]);
  expect(readFileSync(file, "utf8")).toBe(`# mine\nserver_url: ${url.origin}\ntoken: fresh.to.ken\n`);
});

it("keeps a path that a server lies behind", async () => {
  const asked: (string | undefined)[] = [];
  const url = await serve((request, response) => {
    asked.push(`${request.url} ${request.headers.authorization}`);
    json(response, 200, {});
  });
  const environment = readEnvironment({
    LEOFLOW_HOME: "/nowhere",
    LEOFLOW_SERVER: `${url.origin}/leoflow/`,
    LEOFLOW_TOKEN: "x",
  });
  const caller = { environment, paths: resolvePaths("/nowhere"), signal: new AbortController().signal };
  await (await connectServer(caller)).get("/api/v2/dags");
  await (await connectServer(caller, { token: "y" })).get("/api/v2/dags");
  expect(asked).toEqual(["/leoflow/api/v2/dags Bearer x", "/leoflow/api/v2/dags Bearer y"]);
});
