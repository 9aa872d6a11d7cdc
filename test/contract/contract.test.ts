import { execFile } from "node:child_process";
import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { createLiteHome, ADMIN, PASSWORD, type Lite, type LiteHome } from "../support/lite.ts";
import { testPython } from "../support/python.ts";
import { airflowClient } from "../release/tools.ts";
import { get, MALFORMED, open, raw, TRICKS } from "./bad-input.ts";
import { CHANGES } from "./changes.ts";
import { Contract, type Call } from "./contract.ts";
import { readDocument, type Operation } from "./openapi.ts";
import { callOf } from "./random.ts";
import { refused, smallest } from "./values.ts";
import { populate } from "./populate.ts";

let home: LiteHome;
let lite: Lite;
let contract: Contract;

beforeAll(async () => {
  home = await createLiteHome();
  cpSync(join(import.meta.dirname, "dags"), home.workspace, { recursive: true });
  lite = await home.start();
  contract = new Contract(lite.base, await token());
  await populate(contract);
});
afterAll(() => home.remove());

async function token(): Promise<string> {
  const response = await fetch(`${lite.base}/auth/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ username: ADMIN, password: PASSWORD }),
  });
  return ((await response.json()) as { access_token: string }).access_token;
}

/** Per operation; by hand with many more, and other seeds. */
const RANDOM_CALLS = Number(process.env["LEOFLOW_CONTRACT_CALLS"] ?? 8);
const RANDOM_SEED = Number(process.env["LEOFLOW_CONTRACT_SEED"] ?? 6);

const RUNS = "/api/v2/dags/{dag_id}/dagRuns";
const TASK = `${RUNS}/{dag_run_id}/taskInstances/{task_id}`;
const ASKS = { path: { dag_id: "contract_asks", dag_run_id: "asks", task_id: "ask" } };

/** As configured, these cannot succeed here. */
const REFUSED: Record<string, number> = {
  [`GET ${TASK}/externalLogUrl/{try_number}`]: 400,
  [`GET ${TASK}/{map_index}/hitlDetails/tries/{try_number}`]: 404,
  "GET /api/v2/auth/login": 307,
  "GET /api/v2/connections/enqueue-test": 422,
  "GET /ui/pending_partitioned_dag_run/{dag_id}": 404,
  "GET /ui/teams": 403,
  "GET /auth/token": 403,
  "GET /auth/token/login": 403,
};
/** What Airflow's document does not say: routes that leave out nulls, and statuses. */
const UNDOCUMENTED = [
  /^DELETE \/api\/v2\/dags\/\{dag_id\}( .*)?: status 204/,
  /^PATCH \/api\/v2\/dags\/.*taskInstances\/.*"map_index":99.*: \/detail must/,
  /^POST \/api\/v2\/connections\/enqueue-test .*: 422 /,
  /^GET \/ui\/dags query dag_run_state: unknown value: 422 /,
  // Its authorization reads the id first.
  /^GET \/api\/v2\/eventLogs\/\{event_log_id\} path event_log_id: .*: 400 /,
  /^GET \/ui\/(dags|grid\/(structure|runs)\/\{dag_id\}): .*(must have required property|children must)/,
  /^GET \/ui\/pending_partitioned_dag_run\/\{dag_id\}: status 404/,
  /^GET \/ui\/teams: status 403/,
  /^GET \/api\/v2\/auth\/login: content type/,
];

const unexpected = (faults: string[]) => faults.filter((fault) => !UNDOCUMENTED.some((known) => known.test(fault)));

/** What a GET needs beyond the known names. */
const GETS: Record<string, Call> = {
  "GET /api/v2/dags/{dag_id}/assets/{asset_id}/queuedEvents": { path: { dag_id: "contract_waits" } },
  "GET /api/v2/backfills": { query: { dag_id: "contract" } },
  [`GET ${RUNS}/{dag_run_id}/wait`]: { query: { interval: 1 } },
  [`GET ${TASK}/listMapped`]: { path: { task_id: "double" } },
  [`GET ${TASK}/{map_index}/hitlDetails`]: ASKS,
  "GET /ui/pending_partitioned_dag_run/{dag_id}": { query: { partition_key: "none" } },
  "GET /ui/dashboard/historical_metrics_data": { query: { start_date: "2026-01-01T00:00:00Z" } },
  "GET /ui/structure/structure_data": { query: { dag_id: "contract" } },
};

describe("the contract", () => {
  it("is served, and so is a page of it", async () => {
    const served = await fetch(`${lite.base}/openapi.json`);
    expect(await served.json()).toEqual(readDocument("public"));
    const page = await (await fetch(`${lite.base}/docs`)).text();
    for (const path of Object.keys(readDocument("public").paths)) expect(page).toContain(`<code>${path}</code>`);
  });

  it("of the login is served below its mount, as FastAPI does", async () => {
    const served = (await (await fetch(`${lite.base}/auth/openapi.json`)).json()) as object;
    const document = readDocument("login");
    const paths = Object.entries(document.paths).map(([path, methods]) => [path.replace("/auth", ""), methods]);
    expect(served).toEqual({ ...document, servers: [{ url: "/auth" }], paths: Object.fromEntries(paths) as object });
    expect(await (await fetch(`${lite.base}/auth/docs`)).text()).toContain("<code>/token/cli</code>");
  });
});

describe("Airflow's official client", () => {
  it("goes through a whole story", async () => {
    const script = join(import.meta.dirname, "story.py");
    const { stdout } = await promisify(execFile)(testPython(), [script, lite.base, ADMIN, PASSWORD], {
      env: { ...process.env, PYTHONPATH: await airflowClient() },
    });
    expect(JSON.parse(stdout)).toEqual(STORY);
  });
});

describe("a request that Airflow's OpenAPI forbids is refused", () => {
  it("by each operation's parameters and body", async () => {
    const taken: string[] = [];
    let asked = 0;
    for (const operation of contract.operations) {
      if (operation.name.includes("/auth/")) continue;
      const valid = smallestCall(operation);
      const tries: [string, Call][] = operation.parameters.flatMap(({ name, in: place, schema, required }) => {
        if (place === "header") return [];
        const wrong = refused(operation, schema, true).map(([why, value]): [string, Call] => [
          `${place} ${name}: ${why}`,
          { ...valid, [place]: { ...valid[place], [name]: value } },
        ]);
        const { [name]: _, ...rest } = valid.query ?? {};
        return required && place === "query" ? [...wrong, [`without ${name}`, { ...valid, query: rest }]] : wrong;
      });
      const { body } = operation;
      if (body) {
        tries.push(
          ...refused(operation, body.schema, false).map(([why, value]): [string, Call] => [
            why,
            { ...valid, body: value },
          ]),
        );
        if (body.required) tries.push(["without a body", { ...valid, body: undefined }]);
      }
      for (const [why, call] of tries) {
        asked += 1;
        const { status, faults } = await contract.ask(operation.name, call);
        if (status !== 422 || faults.length > 0) taken.push(`${operation.name} ${why}: ${status} ${faults.join(" ")}`);
      }
    }
    expect(unexpected(taken)).toEqual([]);
    expect(asked).toBeGreaterThan(1000);
  });
});

function smallestCall(operation: Operation): Call {
  const values = (place: string) =>
    Object.fromEntries(
      operation.parameters
        .filter((parameter) => parameter.in === place && parameter.required === true)
        .map(({ name, schema }) => [name, smallest(operation, schema) as string]),
    );
  const { body } = operation;
  return {
    path: Object.fromEntries(
      Object.entries(values("path")).map(([name, value]) => [name, contract.known[name] ?? value]),
    ),
    query: values("query"),
    ...(body ? { body: smallest(operation, body.schema) } : {}),
  };
}

const STORY = {
  version: "3.3.2",
  unpaused: true,
  tagged: ["contract", "contract_follows"],
  params: ["count", "fails", "free"],
  triggered: ["by_client", "queued", { count: 3, fails: true }, "mine", "2026-03-01T00:00:00+00:00"],
  again: 409,
  waited: 200,
  ended: "failed",
  listed: ["by_client"],
  page: [["double", 1, "success"], ["double", 0, "success"], 6],
  "by cursor": ["double", "double", "double", "numbers", "parts.fails", "parts.writes"],
  mapped: ["number 0", "number 1", "number 2"],
  tries: ["failed", "failed"],
  log: true,
  xcom: { text: "ä", list: [1, 2.5, null, true] },
  xcoms: ["mixed", "return_value"],
  patched: [["parts.fails", "success", "by hand"]],
  noted: ["noted", "failed"],
  "would clear": 1,
  cleared: 1,
  "ended again": "failed",
  "dry backfill": 30,
  backfill: [true, false, true, 409],
  pool: 3,
  "pool gone": 404,
  bulk: [["v0", "v1", "v2"], ["v2"], null],
  variables: [
    ["v1", '{"n": 1}'],
    ["v0", '{"n": 0}'],
  ],
  connection: ["b", "***", '{"token": "***"}'],
  asset: ["contract_numbers", "contract", ["parts.writes"]],
  event: [1, null],
  materialized: ["contract", "asset_materialization", "success"],
  events: [
    "create_xcom_entry",
    "delete_xcom_entry",
    "failed",
    "patch_dag_run",
    "patch_task_instance",
    "post_clear_task_instances",
    "running",
    "success",
    "trigger_dag_run",
    "up_for_retry",
    "update_xcom_entry",
  ],
  deleted: 404,
};

describe("what a populated server answers is what Airflow's OpenAPI says", () => {
  it("to every GET", async () => {
    const wrong: string[] = [];
    for (const { name, method } of contract.operations) {
      if (method !== "GET" || name.endsWith("/logout")) continue;
      const { status, faults, body } = await contract.ask(name, GETS[name] ?? {});
      if (status !== (REFUSED[name] ?? 200)) wrong.push(`${name}: ${status} ${JSON.stringify(body)}`);
      wrong.push(...unexpected(faults.map((fault) => `${name}: ${fault}`)));
    }
    expect(wrong).toEqual([]);
  });

  it("to every change", async () => {
    const wrong: string[] = [];
    for (const [name, call, expected] of CHANGES) {
      const { status, faults, body } = await contract.ask(name, call);
      if (name === "POST /api/v2/backfills" && status === 200)
        contract.known["backfill_id"] = (body as { id: number }).id;
      const what = `${name} ${JSON.stringify(call)}`;
      if (status !== expected) wrong.push(`${what}: ${status} ${JSON.stringify(body)}`);
      wrong.push(...unexpected(faults.map((fault) => `${what}: ${fault}`)));
    }
    expect(wrong).toEqual([]);
    const called = new Set([...CHANGES.map(([name]) => name), ...Object.keys(REFUSED)]);
    const forgotten = contract.operations.filter(({ name, method }) => method !== "GET" && !called.has(name));
    expect(forgotten.map(({ name }) => name)).toEqual([]);
  });
});

describe("bad input", () => {
  const answers = async () => expect((await contract.ask("GET /api/v2/version")).status).toBe(200);
  const withToken = async (value: string) => {
    const headers = { authorization: `Bearer ${value}` };
    return (await fetch(`${lite.base}/api/v2/dags`, { headers })).status;
  };

  it("as a token lets nobody in", async () => {
    const config = parse(readFileSync(join(home.home, "config.yaml"), "utf8")) as { jwt_secret: string };
    const signed = (claims: Record<string, unknown>, alg = "HS512", secret = config.jwt_secret) => {
      const now = Math.floor(Date.now() / 1000);
      const whole = { sub: ADMIN, aud: "apache-airflow", iat: now, nbf: now, exp: now + 60, ...claims };
      return new SignJWT(whole).setProtectedHeader({ alg }).sign(new TextEncoder().encode(secret));
    };
    expect(await withToken(await signed({}))).toBe(200);
    expect(await withToken(await signed({ exp: 1 }))).toBe(401);
    const encoded = (part: object) => Buffer.from(JSON.stringify(part)).toString("base64url");
    const [, payload = "", signature = ""] = (await signed({})).split(".");
    for (const forged of [
      await signed({ aud: "urn:airflow.apache.org:task" }),
      await signed({ sub: "somebody" }),
      await signed({ nbf: 99_999_999_999 }),
      await signed({}, "HS256"),
      await signed({}, "HS512", "another secret, as long as the one that this server has in its config"),
      `${encoded({ alg: "none" })}.${payload}.`,
      `${encoded({ alg: "none" })}.${payload}.${signature}`,
      "a.b.c",
      "x".repeat(8_000),
    ]) {
      expect([forged, await withToken(forged)]).toEqual([forged, 403]);
    }
  });

  it("as a body is refused, however large or deep it is", async () => {
    const post = async (path: string, body: string | ReadableStream) => {
      const headers = { authorization: `Bearer ${contract.token}`, "content-type": "application/json" };
      const response = await fetch(lite.base + path, { method: "POST", headers, body, duplex: "half" });
      return [response.status, await response.json()];
    };
    const tooLarge = [413, { detail: "Request Entity Too Large" }];
    expect(await post("/auth/token", `{"username": "${"x".repeat(70_000)}", "password": "x"}`)).toEqual(tooLarge);
    const chunk = new Uint8Array(1 << 20).fill(32);
    let sent = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(stream) {
        sent += 1;
        if (sent > 80) stream.close();
        else stream.enqueue(chunk);
      },
    });
    await expect(post("/api/v2/variables", endless).catch(() => tooLarge)).resolves.toEqual(tooLarge);
    for (const depth of [501, 100_000]) {
      const deep = `{"key": "deep", "value": ${"[".repeat(depth)}${"]".repeat(depth)}}`;
      const unread = [400, { detail: "There was an error parsing the body" }];
      expect(await post("/api/v2/variables", deep)).toEqual(unread);
      expect(await post("/auth/token", deep.slice(0, 60_000))).toEqual(unread);
    }
    expect(
      (await post("/api/v2/variables", `{"key": "deep", "value": ${"[".repeat(400)}"\\"]["${"]".repeat(400)}}`))[0],
    ).toBe(201);
    await answers();
  });

  it("as a path reads nothing that is not served", async () => {
    for (const path of TRICKS) {
      const { status, text } = await raw(lite.base, get(path));
      expect([path, status, text.includes("root:")]).toEqual([
        path,
        expect.toSatisfy((code: number) => code === 200 || (code >= 400 && code < 500)),
        false,
      ]);
      if (status === 200) expect(text).toContain("<!doctype html>");
    }
    await answers();
  });

  it("as something that is no HTTP is answered by 4xx", async () => {
    for (const text of MALFORMED) {
      const { status } = await raw(lite.base, text);
      expect([text.slice(0, 60), Math.floor(status / 100)]).toEqual([text.slice(0, 60), 4]);
    }
    await answers();
  });

  it("as hundreds of connections that never say anything, or only half of it, keeps nobody out", async () => {
    const half = "POST /auth/token HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n{";
    const idle = await Promise.all(Array.from({ length: 600 }, () => open(lite.base)));
    idle.forEach((socket, index) => index % 3 > 0 && socket.write(half.slice(0, index % 3 === 1 ? 30 : half.length)));
    await answers();
    for (const socket of idle) socket.destroy();
    await answers();
  });
});

describe("whatever is asked", () => {
  it("the answer is one that Airflow's OpenAPI has", async () => {
    const wrong = new Map<string, string>();
    // What deletes comes last, or the rest finds nothing.
    const isLast = ({ method }: Operation) => Number(method === "DELETE");
    for (const operation of contract.operations.toSorted((a, b) => isLast(a) - isLast(b))) {
      if (/\/auth\/|\/wait$/.test(operation.name)) continue;
      for (const call of fc.sample(callOf(operation, contract.known), { numRuns: RANDOM_CALLS, seed: RANDOM_SEED })) {
        const url = new URL(contract.path(operation, call.path), lite.base);
        for (const [name, value] of call.query) url.searchParams.append(name, value);
        const body = call.body === undefined ? undefined : JSON.stringify(call.body);
        const { status, faults, body: answer } = await contract.send(operation, url, {}, body);
        const ill = status < 400 ? unexpected(faults.map((fault) => `${operation.name}: ${fault}`)) : [];
        // The documents name few of Airflow's refusals, so here it is their kind that counts.
        if (status >= 400 && !(REFUSALS.includes(status) && hasDetail(answer))) ill.push(JSON.stringify(answer));
        const asked = `${url.pathname}${url.search} ${body ?? ""}`;
        if (ill.length > 0) wrong.set(`${operation.name} ${status}`, `${asked}: ${status} ${ill.join("; ")}`);
      }
    }
    expect([...wrong]).toEqual([]);
    expect((await fetch(`${lite.base}/readyz`)).status).toBe(200);
  });
});

const REFUSALS = [400, 403, 404, 406, 409, 422];

function hasDetail(answer: unknown): boolean {
  return typeof answer === "object" && answer !== null && "detail" in answer;
}
