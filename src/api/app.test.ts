import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { Readable } from "node:stream";
import { hash } from "@node-rs/argon2";
import type { FastifyInstance } from "fastify";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { bareContext } from "../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { addMicros, type Instant } from "../kit/instant.ts";
import { systemClock } from "../kit/clock.ts";
import { createUser, deleteUser, findLogin } from "../store/users.ts";
import { createApp, type AppConfig } from "./app.ts";
import { ApiError } from "./errors.ts";
import { API_TOKEN_SECONDS, Tokens } from "./auth/tokens.ts";
import type { ApiContext, User } from "./context.ts";
import { Type } from "typebox";

let database: TestDatabase;
let dir: string;
let app: FastifyInstance;
let config: AppConfig;
let changePassword: (to: string) => Promise<void>;
let now: Instant | null = null;
const clock = { now: () => now ?? systemClock.now() };
const password = "correct horse battery staple";
const bundle = `console.log(${JSON.stringify("leoflow ".repeat(2000))})`;

function context(over: Partial<ApiContext> = {}): ApiContext {
  const kit = { logger: pino({ level: "silent" }), clock };
  return bareContext(database.db, dir, { kit, airflowPackageDir: join(dir, "site-packages"), ...over });
}

async function makeApp(over: Partial<AppConfig> = {}): Promise<FastifyInstance> {
  const made = createApp(context(), { ...config, ...over });
  made.get("/api/v2/test/boom", () => {
    throw new Error("secret detail");
  });
  made.get("/api/v2/test/admin", { config: { role: "ADMIN" } }, () => "ok");
  made.get("/api/v2/test/gone", () => {
    throw new ApiError(404, "gone");
  });
  made.get("/api/v2/test/unique", () => {
    throw Object.assign(new Error("duplicate key"), { code: "23505", severity: "ERROR" });
  });
  made.get("/api/v2/test/lines", (_request, reply) =>
    reply.type("application/x-ndjson").send(Readable.from(["one\n", "two\n"])),
  );
  made.get("/api/v2/test/large", () => ({ text: "leoflow ".repeat(1000) }));
  made.post("/api/v2/test/echo", { schema: { body: Type.Object({ n: Type.Integer() }) } }, (request) => request.body);
  made.post("/api/v2/dags/test", () => "ok");
  await made.ready();
  return made;
}

beforeAll(async () => {
  database = await createTestDatabase();
  dir = mkdtempSync(join(tmpdir(), "leoflow-app-test-"));
  const main = join(dir, "site-packages/airflow/ui/dist");
  const login = join(dir, "site-packages/airflow/api_fastapi/auth/managers/simple/ui/dist");
  for (const dist of [main, login]) {
    mkdirSync(join(dist, "assets"), { recursive: true });
    const name = dist === main ? "main" : "login";
    writeFileSync(join(dist, "index.html"), `<base href="{{ backend_server_base_url }}" /><title>${name}</title>`);
    writeFileSync(join(dist, "assets/index-abc.js"), bundle);
    writeFileSync(join(dist, "assets/part.wasm"), "wasm");
  }
  mkdirSync(join(main, "i18n/locales/en"), { recursive: true });
  writeFileSync(join(main, "i18n/locales/en/common.json"), "{}");
  writeFileSync(join(dir, "secret.txt"), "secret");
  symlinkSync(join(dir, "secret.txt"), join(main, "assets/link.txt"));
  let passwordHash = await hash(password);
  changePassword = async (to) => void (passwordHash = await hash(to));
  config = {
    adminEmail: "admin@leoflow.local",
    adminPasswordHash: () => passwordHash,
    jwtSecret: "test-secret",
    cacheDir: join(dir, "cache"),
  };
  app = await makeApp();
});

afterAll(async () => {
  await app.close();
  await database.close();
  rmSync(dir, { recursive: true, force: true });
});

beforeEach(() => {
  now = null;
});

/** A token of the admin, or of a user that is made for it. */
async function tokenOf(user: User = { name: "admin@leoflow.local", role: "ADMIN" }, seconds = API_TOKEN_SECONDS) {
  const records = { revoke: async () => {}, standing: async () => ({ revoked: false, role: null, teams: null }) };
  const tokens = new Tokens({ clock }, { records }, config);
  if (user.name === config.adminEmail) return tokens.issue(user, seconds);
  await deleteUser(database.db, user.name);
  await createUser(database.db, { ...user, passwordHash: "none" });
  const login = await findLogin(database.db, user.name);
  return tokens.issue({ ...user, sessionKey: login?.session_key ?? "" }, seconds);
}
const bearer = async (user?: User) => ({ authorization: `Bearer ${await tokenOf(user)}` });
const get = (url: string, headers: Record<string, string> = {}) => app.inject({ method: "GET", url, headers });

describe("login", () => {
  const logIn = (body: object, url = "/auth/token", on = app) => on.inject({ method: "POST", url, payload: body });

  it("takes another password from the next login on, and leaves those signed in alone", async () => {
    const session = await bearer();
    await changePassword("another-password");
    const codes = await Promise.all(
      [password, "another-password"].map((each) => logIn({ username: "admin", password: each })),
    );
    await changePassword(password);
    expect(codes.map(({ statusCode }) => statusCode)).toEqual([401, 201]);
    expect((await get("/ui/auth/me", session)).statusCode).toBe(200);
  });

  it("gives a token with SimpleAuthManager's claims, for the e-mail or for admin, from JSON or a form", async () => {
    const answer = await logIn({ username: "admin@leoflow.local", password });
    expect(answer.statusCode).toBe(201);
    const { access_token } = answer.json<{ access_token: string }>();
    const [head, claims] = access_token
      .split(".")
      .slice(0, 2)
      .map((part) => JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>);
    expect(head).toEqual({ alg: "HS512", kid: "not-used", typ: "JWT" });
    expect(claims).toMatchObject({ sub: "admin@leoflow.local", role: "admin", teams: [], aud: "apache-airflow" });
    expect(claims?.["jti"]).toMatch(/^[0-9a-f]{32}$/);
    expect(Number(claims?.["exp"]) - Number(claims?.["iat"])).toBe(86_400);
    const form = await app.inject({
      method: "POST",
      url: "/auth/token",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      payload: new URLSearchParams({ username: "admin", password }).toString(),
    });
    expect(form.statusCode).toBe(201);
    const me = await get("/ui/auth/me", {
      authorization: `Bearer ${form.json<{ access_token: string }>().access_token}`,
    });
    expect(me.json()).toEqual({ id: "admin@leoflow.local", username: "admin@leoflow.local" });
  });

  it("refuses wrong passwords and unknown users with the same words", async () => {
    const other = await makeApp();
    for (const body of [
      { username: "admin", password: "wrong" },
      { username: "nobody", password },
    ]) {
      const answer = await logIn(body, "/auth/token", other);
      expect([answer.statusCode, answer.json()]).toEqual([401, { detail: "Invalid credentials" }]);
    }
    expect((await logIn({ username: "admin", password: "" }, "/auth/token", other)).statusCode).toBe(400);
    expect((await logIn({ username: "admin" }, "/auth/token", other)).statusCode).toBe(422);
    await other.close();
  });

  it("stops guessing after five failures a minute, even in parallel, and counts no successes", async () => {
    const other = await makeApp();
    for (let i = 0; i < 7; i++) {
      expect((await logIn({ username: "admin", password }, "/auth/token", other)).statusCode).toBe(201);
    }
    const guesses = await Promise.all(
      Array.from({ length: 8 }, () => logIn({ username: "admin", password: "guess" }, "/auth/token", other)),
    );
    expect(guesses.map(({ statusCode }) => statusCode).sort()).toEqual([401, 401, 401, 401, 401, 429, 429, 429]);
    const refused = await logIn({ username: "admin", password }, "/auth/token/cli", other);
    expect([refused.statusCode, refused.json()]).toEqual([
      429,
      { detail: "too many failed login attempts; wait about a minute and try again" },
    ]);
    now = addMicros(systemClock.now(), 61_000_000);
    expect((await logIn({ username: "admin", password }, "/auth/token/cli", other)).statusCode).toBe(201);
    await other.close();
  });

  it("hands out tokens without a password only where everybody is an admin", async () => {
    expect((await get("/auth/token")).statusCode).toBe(403);
    expect((await get("/auth/token/login")).statusCode).toBe(403);
    const open = await makeApp({ allAdmins: true });
    const login = await open.inject("/auth/token/login?next=/dags");
    expect([login.statusCode, login.headers.location]).toEqual([307, "/dags"]);
    expect(login.headers["set-cookie"]).toMatch(/^_token=ey.*HttpOnly; Path=\/; SameSite=lax$/);
    expect((await open.inject("/ui/auth/me")).json()).toEqual({ id: "Anonymous", username: "Anonymous" });
    await open.close();
  });

  it("redirects to the login page, and never to another origin", async () => {
    const answer = await get("/api/v2/auth/login?next=http%3A%2F%2Flocalhost%3A80%2Fdags%3Fa%3Db", {
      host: "localhost:80",
    });
    expect([answer.statusCode, answer.headers.location]).toEqual([
      307,
      "/auth/login?next=http%3A%2F%2Flocalhost%3A80%2Fdags%3Fa%3Db",
    ]);
    for (const next of [
      "https://evil.example/",
      "//evil.example",
      "/\\evil.example",
      "%2F%2Fevil.example",
      "\t//evil.example",
      "javascript:alert(1)",
      "http:evil.example",
      "https:/evil.example",
      "%",
    ]) {
      const refused = await get(`/api/v2/auth/login?next=${encodeURIComponent(next)}`);
      expect([next, refused.statusCode]).toEqual([next, 400]);
    }
  });

  it("makes a token worthless on logout", async () => {
    const cookie = `_token=${await tokenOf()}`;
    expect((await get("/ui/auth/me", { cookie })).statusCode).toBe(200);
    const out = await get("/api/v2/auth/logout", { cookie });
    expect([out.statusCode, out.headers.location]).toEqual([307, "/auth/login"]);
    expect(out.headers["set-cookie"]).toBe('_token=""; HttpOnly; Max-Age=0; Path=/; SameSite=lax');
    const after = await get("/ui/auth/me", { cookie });
    expect([after.statusCode, after.json()]).toEqual([403, { detail: "Invalid JWT token" }]);
    expect(after.headers["set-cookie"]).toContain("Max-Age=0");
  });
});

describe("authentication", () => {
  it("uses the words that the UI waits for", async () => {
    expect([(await get("/ui/config")).statusCode, (await get("/ui/config")).json()]).toEqual([
      401,
      { detail: "Not authenticated" },
    ]);
    const expired = await get("/ui/config", { authorization: `Bearer ${await tokenOf(undefined, -60)}` });
    expect([expired.statusCode, expired.json()]).toEqual([401, { detail: "Token Expired" }]);
    const broken = await get("/ui/config", { authorization: "Bearer nonsense" });
    expect([broken.statusCode, broken.json()]).toEqual([403, { detail: "Invalid JWT token" }]);
    const viewer = await get("/api/v2/test/admin", await bearer({ name: "v", role: "VIEWER" }));
    expect([viewer.statusCode, viewer.json()]).toEqual([403, { detail: "Forbidden" }]);
  });

  it("takes the bearer token before the cookie", async () => {
    const headers = { ...(await bearer({ name: "bea", role: "USER" })), cookie: `_token=${await tokenOf()}` };
    expect((await get("/ui/auth/me", headers)).json()).toEqual({ id: "bea", username: "bea" });
  });

  it("asks for more than a viewer where a write says nothing", async () => {
    const as = async (role: User["role"], url: string) =>
      (await app.inject({ method: "POST", url, headers: await bearer({ name: "x", role }), payload: { n: 1 } }))
        .statusCode;
    expect(await as("VIEWER", "/api/v2/dags/test")).toBe(403);
    expect(await as("USER", "/api/v2/dags/test")).toBe(200);
    expect(await as("USER", "/api/v2/test/echo")).toBe(403);
    expect(await as("OP", "/api/v2/test/echo")).toBe(200);
  });

  it("refuses what another site makes a browser send", async () => {
    const cookie = `_token=${await tokenOf()}`;
    const post = async (headers: Record<string, string>) =>
      (await app.inject({ method: "POST", url: "/api/v2/test/echo", headers, payload: { n: 1 } })).statusCode;
    expect(await post({ cookie, "sec-fetch-site": "same-origin" })).toBe(200);
    expect(await post({ cookie, "sec-fetch-site": "same-site" })).toBe(403);
    expect(await post({ cookie, origin: "http://evil.example" })).toBe(403);
    expect(await post({ cookie, origin: "http://localhost:80" })).toBe(200);
    expect(await post({ ...(await bearer()), "sec-fetch-site": "cross-site" })).toBe(200);
  });

  it("renews tokens", async () => {
    const answer = await app.inject({
      method: "POST",
      url: "/ui/auth/token",
      headers: await bearer(),
      payload: { token_type: "cli" },
    });
    expect(answer.json()).toMatchObject({ token_type: "cli", expires_in_seconds: 3600 });
  });
});

describe("errors", () => {
  it("hides what went wrong inside, and logs it", async () => {
    const answer = await get("/api/v2/test/boom", await bearer());
    expect([answer.statusCode, answer.json()]).toEqual([500, { detail: "Internal Server Error" }]);
    expect(answer.headers["x-request-id"]).toBeTruthy();
    const unique = await get("/api/v2/test/unique", await bearer());
    expect([unique.statusCode, unique.json()]).toMatchObject([
      409,
      { detail: { reason: "Unique constraint violation", statement: "hidden" } },
    ]);
    expect((await get("/api/v2/test/gone", await bearer())).json()).toEqual({ detail: "gone" });
  });

  it("answers bad bodies as FastAPI does", async () => {
    const headers = await bearer();
    const post = async (payload?: string, type = "application/json") => {
      const answer = await app.inject({
        method: "POST",
        url: "/api/v2/test/echo",
        headers: { ...headers, ...(payload === undefined ? {} : { "content-type": type }) },
        ...(payload === undefined ? {} : { payload }),
      });
      return [answer.statusCode, answer.json<unknown>()];
    };
    expect(await post('{"n": "7"}')).toEqual([200, { n: 7 }]);
    expect(await post('{"n": 7}', "text/plain")).toEqual([200, { n: 7 }]);
    expect(await post()).toEqual([
      422,
      { detail: [{ type: "missing", loc: ["body"], msg: "Field required", input: null }] },
    ]);
    expect(await post("{")).toMatchObject([422, { detail: [{ type: "json_invalid", msg: "JSON decode error" }] }]);
  });

  it("knows no other paths", async () => {
    expect((await get("/health")).json()).toHaveProperty("error");
    for (const url of ["/api/v1/dags", "/api/nothing", "/api/v2/nothing"]) {
      const answer = await get(url);
      expect([answer.statusCode, Object.keys(answer.json<object>())]).toEqual([404, ["error"]]);
    }
    const posted = await app.inject({ method: "POST", url: "/nothing" });
    expect([posted.statusCode, posted.json()]).toEqual([405, { detail: "Method Not Allowed" }]);
  });
});

describe("compression", () => {
  it("packs answers from 1 KB and streams", async () => {
    const headers = await bearer();
    const large = await get("/api/v2/test/large", { ...headers, "accept-encoding": "gzip, br" });
    expect(large.headers["content-encoding"]).toBe("br");
    expect(brotliDecompressSync(large.rawPayload).toString()).toContain("leoflow leoflow");
    const lines = await get("/api/v2/test/lines", { ...headers, "accept-encoding": "gzip" });
    expect(lines.headers["content-encoding"]).toBe("gzip");
    expect(gunzipSync(lines.rawPayload).toString()).toBe("one\ntwo\n");
    const plain = await get("/api/v2/test/large", { ...headers, "accept-encoding": "br;q=0" });
    expect(plain.headers["content-encoding"]).toBeUndefined();
    const small = await get("/ui/auth/me", { ...headers, "accept-encoding": "gzip" });
    expect(small.headers["content-encoding"]).toBeUndefined();
  });
});

describe("the UI's files", () => {
  it("serves the page at every path that is nobody else's", async () => {
    for (const url of ["/", "/dags/a.b/runs/x", "/ui/nothing"]) {
      const answer = await get(url);
      expect(answer.body).toBe('<base href="/" /><title>main</title>');
      expect(answer.headers["content-type"]).toBe("text/html; charset=utf-8");
      expect(answer.headers["cache-control"]).toBe("no-cache");
    }
    expect((await get("/auth/login?next=%2F")).body).toContain("<title>login</title>");
    const { etag } = (await get("/")).headers;
    expect((await get("/", { "if-none-match": String(etag) })).statusCode).toBe(304);
    expect((await app.inject({ method: "HEAD", url: "/" })).body).toBe("");
  });

  it("serves hashed files for ever, packed once and kept on disk", async () => {
    const url = "/static/assets/index-abc.js";
    const first = await get(url, { "accept-encoding": "gzip, br" });
    expect(first.body).toBe(bundle);
    expect(first.headers).toMatchObject({
      "cache-control": "public, max-age=31536000, immutable",
      "content-type": "text/javascript; charset=utf-8",
    });
    await expect
      .poll(async () => (await get(url, { "accept-encoding": "gzip, br" })).headers["content-encoding"])
      .toBe("br");
    const packed = await get(url, { "accept-encoding": "gzip, br" });
    expect(brotliDecompressSync(packed.rawPayload).toString()).toBe(bundle);
    expect(packed.rawPayload.length).toBe(Number(packed.headers["content-length"]));
    expect((await get(url, { "if-none-match": String(packed.headers.etag) })).statusCode).toBe(304);
    expect((await get("/static/assets/part.wasm")).headers["content-type"]).toBe("application/wasm");
    expect((await get("/auth/static/assets/index-abc.js")).body).toBe(bundle);
    expect((await get("/static/i18n/locales/en/common.json?v=1")).headers["cache-control"]).toContain("immutable");
  });

  it("serves nothing else of the disk", async () => {
    for (const path of [
      "../index.html",
      "%2e%2e/%2e%2e/secret.txt",
      "..%2f..%2fsecret.txt",
      "assets/link.txt",
      "assets",
      "",
      "assets/%00",
    ]) {
      const answer = await get(`/static/${path}`);
      expect([path, answer.statusCode === 404 || answer.body.includes("<title>")]).toEqual([path, true]);
      expect(answer.body).not.toContain("secret");
    }
  });
});
