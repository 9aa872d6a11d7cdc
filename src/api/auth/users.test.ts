import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import { SignJWT } from "jose";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bareContext } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import type { Role } from "../../domain/user.ts";
import { systemClock } from "../../kit/clock.ts";
import { addMicros, instantMs, type Instant } from "../../kit/instant.ts";
import { hashPassword } from "../../kit/password.ts";
import { deleteUser, updateUser } from "../../store/users.ts";
import { createApp } from "../app.ts";

const ADMIN = "admin@leoflow.local";
const PASSWORD = "correct horse battery";
const RECHECKED_MICROS = 2_001_000;

let database: TestDatabase;
let dir: string;
let app: FastifyInstance;
let admin: string;
let now: Instant = systemClock.now();

beforeAll(async () => {
  database = await createTestDatabase();
  dir = mkdtempSync(join(tmpdir(), "leoflow-users-test-"));
  const passwordHash = await hashPassword(PASSWORD);
  app = createApp(
    bareContext(database.db, dir, { kit: { logger: pino({ level: "silent" }), clock: { now: () => now } } }),
    {
      adminEmail: ADMIN,
      adminPasswordHash: () => passwordHash,
      jwtSecret: "test-secret",
      cacheDir: join(dir, "cache"),
    },
  );
  await app.ready();
  admin = (await logIn("admin")) ?? "";
});

afterAll(async () => {
  await app.close();
  await database.close();
  rmSync(dir, { recursive: true, force: true });
});

/** The token, or undefined where the login is refused. Failures of a minute ago do not count. */
async function logIn(username: string, password = PASSWORD, url = "/auth/token"): Promise<string | undefined> {
  now = addMicros(now, 61_000_000);
  const answer = await app.inject({ method: "POST", url, payload: { username, password } });
  if (answer.statusCode !== 201)
    expect([answer.statusCode, answer.body]).toEqual([401, '{"detail":"Invalid credentials"}']);
  return answer.json<{ access_token?: string }>().access_token;
}

const ask = (token: string | undefined, method: "GET" | "POST" | "PATCH" | "DELETE", url: string, payload?: object) =>
  app.inject({ method, url, headers: { authorization: `Bearer ${token}` }, ...(payload ? { payload } : {}) });
const asAdmin = (method: "GET" | "POST" | "PATCH" | "DELETE", path: string, payload?: object) =>
  ask(admin, method, `/api/leoflow/users${path}`, payload);
const make = async (name: string, role: Role = "OP") => {
  expect((await asAdmin("POST", "", { name, role, password: PASSWORD })).statusCode).toBe(201);
  return logIn(name);
};
/** What a token is answered where an OP may go. */
const asked = async (token: string | undefined) => (await ask(token, "GET", "/api/v2/variables")).statusCode;

describe("users", () => {
  it("sign in by their name, whatever its capitals, as what they are", async () => {
    const made = await asAdmin("POST", "", { name: " Ann@Example.com ", role: "VIEWER", password: PASSWORD });
    expect([made.statusCode, made.json()]).toMatchObject([
      201,
      { name: "ann@example.com", role: "VIEWER", active: true, last_login: null },
    ]);
    expect(made.body).not.toMatch(/hash|session/);
    const token = await logIn("ANN@example.com", PASSWORD, "/auth/token/cli");
    expect((await ask(token, "GET", "/ui/auth/me")).json()).toEqual({
      id: "ann@example.com",
      username: "ann@example.com",
    });
    expect((await ask(token, "GET", "/api/v2/dags")).statusCode).toBe(200);
    expect(await asked(token)).toBe(403);
    expect((await ask(token, "GET", "/api/leoflow/users")).statusCode).toBe(403);
    expect((await asAdmin("GET", "/ann@example.com")).json()).toMatchObject({
      last_login: expect.any(String) as string,
    });
    expect(await logIn("ann@example.com", "another password")).toBeUndefined();
  });

  it("cannot stand in for the admin of config.yaml, who always gets in", async () => {
    for (const name of [
      "admin",
      "ADMIN",
      ADMIN,
      "Admin@Leoflow.local",
      "anonymous",
      "",
      "a b",
      "-x",
      "a/b",
      "x".repeat(129),
    ]) {
      const refused = await asAdmin("POST", "", { name, role: "VIEWER", password: PASSWORD });
      expect([name, refused.statusCode]).toEqual([name, 422]);
    }
    await database.db
      .insertInto("users")
      .values({ name: ADMIN, password_hash: await hashPassword("other password"), role: "VIEWER" })
      .execute();
    expect(await asked(await logIn(ADMIN))).toBe(200);
    expect(await logIn(ADMIN, "other password")).toBeUndefined();
    await deleteUser(database.db, ADMIN);
  });

  it.each<[string, (name: string) => Promise<unknown>, number]>([
    ["removed", (name) => asAdmin("DELETE", `/${name}`), 403],
    ["deactivated", (name) => asAdmin("PATCH", `/${name}`, { active: false }), 403],
    ["given another password", (name) => asAdmin("PATCH", `/${name}`, { password: "another password" }), 403],
    ["given a lesser role", (name) => asAdmin("PATCH", `/${name}`, { role: "USER" }), 403],
    ["given a higher role", (name) => asAdmin("PATCH", `/${name}`, { role: "ADMIN" }), 200],
  ])("lose what older tokens allowed once %s", async (change, act, code) => {
    const name = change.replaceAll(" ", "-");
    const token = await make(name);
    expect(await asked(token)).toBe(200);
    await act(name);
    expect(await asked(token)).toBe(code);
    if (change !== "deactivated") return;
    await asAdmin("PATCH", `/${name}`, { active: true });
    expect(await asked(token)).toBe(403);
  });

  it("lose it within two seconds where another process changed them", async () => {
    const token = await make("far", "OP");
    expect(await asked(token)).toBe(200);
    await updateUser(database.db, "far", { role: "VIEWER" });
    now = addMicros(now, RECHECKED_MICROS);
    expect(await asked(token)).toBe(403);
  });

  it("of the same name as somebody before are not them", async () => {
    const token = await make("twin");
    await asAdmin("DELETE", "/twin");
    await make("twin");
    expect(await asked(token)).toBe(403);
  });

  it("renew tokens that end with the session, and log out", async () => {
    const token = await make("renew");
    const renewed = (await ask(token, "POST", "/ui/auth/token", {})).json<{ access_token: string }>().access_token;
    expect(await asked(renewed)).toBe(200);
    expect((await ask(token, "GET", "/api/v2/auth/logout")).statusCode).toBe(307);
    expect([await asked(token), await asked(renewed)]).toEqual([403, 200]);
    await asAdmin("PATCH", "/renew", { active: false });
    expect(await asked(renewed)).toBe(403);
    expect(await logIn("renew")).toBeUndefined();
  });
});

describe("tokens", () => {
  const seconds = () => Math.floor(instantMs(now) / 1000);
  /** As the server makes them, but for what is said. */
  const sign = (claims: Record<string, unknown>, key = "test-secret", alg = "HS512") =>
    new SignJWT({ aud: "apache-airflow", nbf: seconds(), iat: seconds(), exp: seconds() + 60, ...claims })
      .setProtectedHeader({ alg })
      .sign(new TextEncoder().encode(key));
  const refused = '{"detail":"Invalid JWT token"}';

  it("that somebody else has made, or for something else, or for nobody, are refused", async () => {
    await make("vera", "VIEWER");
    await make("otto", "OP");
    const sessions = await database.pool.query<{ name: string; session_key: string }>(
      "select name, session_key from users where name in ('vera', 'otto')",
    );
    const sid = (name: string) => sessions.rows.find((row) => row.name === name)?.session_key;
    const none = Buffer.from('{"alg":"none"}').toString("base64url");
    const [, claims = "", signature = ""] = (await sign({ sub: ADMIN })).split(".");
    const tokens: Record<string, string> = {
      "no algorithm": `${none}.${claims}.`,
      "no algorithm, but a signature": `${none}.${claims}.${signature}`,
      "another key": await sign({ sub: ADMIN, role: "admin" }, "another-secret"),
      "another algorithm": await sign({ sub: ADMIN, role: "admin" }, "test-secret", "HS256"),
      "another audience": await sign({ sub: ADMIN, aud: "urn:airflow.apache.org:task" }),
      "no audience": await sign({ sub: ADMIN, aud: undefined }),
      "no end": await sign({ sub: ADMIN, exp: undefined }),
      "not yet": await sign({ sub: ADMIN, nbf: seconds() + 60 }),
      nobody: await sign({ role: "admin" }),
      "a user without a session": await sign({ sub: "otto", role: "op" }),
      "another's session": await sign({ sub: "vera", role: "op", sid: sid("otto") }),
      "the admin in a user's session": await sign({ sub: ADMIN, role: "admin", sid: sid("otto") }),
      "a session that is no text": await sign({ sub: "otto", role: "op", sid: [sid("otto")] }),
      "too much": `${claims}.`.repeat(3_000),
    };
    for (const [what, token] of Object.entries(tokens)) {
      const answer = await ask(token, "GET", "/api/v2/variables");
      expect([what, answer.statusCode, answer.body]).toEqual([what, 403, refused]);
    }
    expect((await ask(await sign({ sub: ADMIN, exp: seconds() - 60 }), "GET", "/ui/auth/me")).statusCode).toBe(401);
  });

  it("give the role that their user has, whatever they say", async () => {
    await make("walt", "VIEWER");
    const { rows } = await database.pool.query<{ session_key: string }>(
      "select session_key from users where name = 'walt'",
    );
    const token = await sign({ sub: "walt", role: "admin", sid: rows[0]?.session_key });
    expect((await ask(token, "GET", "/ui/auth/me")).statusCode).toBe(200);
    expect(await asked(token)).toBe(403);
  });
});

describe("/api/leoflow/users", () => {
  it("lists, refuses what it does not understand, and records every change without passwords", async () => {
    await database.pool.query("truncate users; truncate log");
    await make("bob", "USER");
    const again = await asAdmin("POST", "", { name: "BOB", role: "OP", password: PASSWORD });
    expect([again.statusCode, again.json()]).toMatchObject([
      409,
      { detail: { message: "The User with name: `bob` already exists" } },
    ]);
    expect((await asAdmin("GET", "")).json()).toMatchObject({
      users: [{ name: "bob", role: "USER" }],
      total_entries: 1,
      configured_admin: ADMIN,
    });
    for (const [method, path, body, code] of [
      ["POST", "", { name: "eve", role: "VIEWER", password: "short" }, 422],
      ["POST", "", { name: "eve", role: "ROOT", password: PASSWORD }, 422],
      ["POST", "", { name: "eve", role: "OP", password: PASSWORD, active: "x" }, 422],
      ["PATCH", "/bob", { name: "eve" }, 422],
      ["PATCH", "/nobody", { role: "OP" }, 404],
      ["DELETE", "/nobody", undefined, 404],
      ["DELETE", "/admin", undefined, 404],
      ["PATCH", "/bob", { password: "another password" }, 200],
      ["DELETE", "/bob", undefined, 204],
    ] as const) {
      expect([method, path, body, (await asAdmin(method, path, body)).statusCode]).toEqual([method, path, body, code]);
    }
    const made = (await asAdmin("POST", "", { name: "gen", role: "USER" })).json<{ password: string }>();
    expect(await logIn("gen", made.password)).toBeDefined();
    const other = (await asAdmin("PATCH", "/gen", { password: null })).json<{ password: string }>();
    expect([await logIn("gen", made.password), await logIn("gen", other.password)]).toEqual([
      undefined,
      expect.any(String),
    ]);
    const { rows } = await database.pool.query<{ event: string; owner: string; extra: string }>(
      "select event, owner, extra from log order by id",
    );
    expect(rows[0]).toEqual({
      event: "post_user",
      owner: ADMIN,
      extra: '{"name": "bob", "role": "USER", "password": "***", "method": "POST"}',
    });
    expect(rows.find(({ event, extra }) => event === "delete_user" && extra.includes("bob"))?.extra).toBe(
      '{"name": "bob", "method": "DELETE"}',
    );
    expect(JSON.stringify(rows)).not.toContain("another password");
  });
});
