import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bareContext } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { mayDo, ROLES, type Role } from "../../domain/user.ts";
import { hashPassword } from "../../kit/password.ts";
import { createUser } from "../../store/users.ts";
import { EditableFiles } from "../../lite/workspace-files.ts";
import { createApp } from "../app.ts";
import { EDITOR_ROLE } from "../leoflow/files.ts";

/** Who may do what and what is recorded, held against what Airflow's wheel asks of every operation. */

interface Access {
  role: Role | "public";
  event: string | null;
}

const file = join(import.meta.dirname, "fixtures/airflow-access.json");
const AIRFLOW = JSON.parse(readFileSync(file, "utf8")) as Record<string, Access>;
/** Leoflow's own, beside Airflow's. */
const OURS: Record<string, Access> = {
  "GET /api/leoflow/users": { role: "ADMIN", event: null },
  "POST /api/leoflow/users": { role: "ADMIN", event: "post_user" },
  "GET /api/leoflow/users/{name}": { role: "ADMIN", event: null },
  "PATCH /api/leoflow/users/{name}": { role: "ADMIN", event: "patch_user" },
  "DELETE /api/leoflow/users/{name}": { role: "ADMIN", event: "delete_user" },
  // A change of a file is recorded when its body is one; here only the deletion is.
  "GET /api/leoflow/files": { role: EDITOR_ROLE, event: null },
  "GET /api/leoflow/files/{*}": { role: EDITOR_ROLE, event: null },
  "POST /api/leoflow/files/{*}": { role: EDITOR_ROLE, event: null },
  "PUT /api/leoflow/files/{*}": { role: EDITOR_ROLE, event: null },
  "PATCH /api/leoflow/files/{*}": { role: EDITOR_ROLE, event: null },
  "DELETE /api/leoflow/files/{*}": { role: EDITOR_ROLE, event: "delete_file" },
  "GET /api/leoflow/file-search": { role: EDITOR_ROLE, event: null },
  "GET /api/leoflow/why/{dag_id}": { role: "VIEWER", event: null },
  "GET /api/leoflow/why/{dag_id}/{run_id}": { role: "VIEWER", event: null },
  "GET /api/leoflow/why/{dag_id}/{run_id}/{task_id}": { role: "VIEWER", event: null },
};
const TABLE = Object.entries({ ...AIRFLOW, ...OURS }).map(([operation, access]) => {
  const [method = "", path = ""] = operation.split(" ");
  return { operation, method: method as "GET" | "POST", url: path.replaceAll(/\{[^}]+\}/g, "1"), ...access };
});

let database: TestDatabase;
let dir: string;
let app: FastifyInstance;
const own: string[] = [];
const tokens = new Map<Role, string>();
const nameOf = (role: Role) => `${role.toLowerCase()}@example.com`;

beforeAll(async () => {
  database = await createTestDatabase();
  dir = mkdtempSync(join(tmpdir(), "leoflow-access-test-"));
  const passwordHash = await hashPassword("a password");
  app = createApp(bareContext(database.db, dir, { files: new EditableFiles({ workspace: dir }) }), {
    adminEmail: "a@b",
    adminPasswordHash: () => passwordHash,
    jwtSecret: "test-secret",
    cacheDir: join(dir, "cache"),
  });
  app.addHook("onRoute", ({ method, url }) => {
    // The users' routes are there already: only groups of routes are made as the app gets ready.
    if (url.startsWith("/api/leoflow/")) own.push(`${String(method)} ${url.replaceAll(/:\w+|\*/g, "1")}`);
  });
  await app.ready();
  for (const role of ROLES) {
    const username = nameOf(role);
    await createUser(database.db, { name: username, role, passwordHash });
    const payload = { username, password: "a password" };
    const answer = await app.inject({ method: "POST", url: "/auth/token", payload });
    tokens.set(role, answer.json<{ access_token: string }>().access_token);
  }
});

afterAll(async () => {
  await app.close();
  await database.close();
  rmSync(dir, { recursive: true, force: true });
});

async function ask({ method, url }: (typeof TABLE)[number], role: Role | "none") {
  const token = role === "none" ? undefined : tokens.get(role);
  const { statusCode, body } = await app.inject({
    method,
    url,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    ...(method === "GET" ? {} : { payload: { dry_run: false } }),
  });
  return { statusCode, detail: body === NOT_SIGNED_IN || body === FORBIDDEN ? body : "" };
}

it("knows every operation", () => {
  const below = (prefix: string) => Object.keys(AIRFLOW).filter((operation) => operation.includes(` ${prefix}`)).length;
  const known = TABLE.map(({ method, url }) => `${method} ${url}`);
  expect(own.filter((route) => !route.startsWith("HEAD") && !known.includes(route))).toEqual([]);
  expect([below("/api/v2/"), below("/ui/"), below("/auth/")]).toEqual([128, 24, 4]);
});

describe("every operation", () => {
  it("asks for the role that Airflow asks for", async () => {
    const wrong: string[] = [];
    for (const each of TABLE) {
      for (const role of ["none", ...ROLES] as const) {
        if (each.role === "public" && role !== "none") continue;
        const expected =
          each.role === "public" ? "" : role === "none" ? NOT_SIGNED_IN : mayDo(role, each.role) ? "" : FORBIDDEN;
        const { statusCode, detail } = await ask(each, role);
        if (detail !== expected) wrong.push(`${each.operation} as ${role}: ${statusCode} ${detail}, not ${expected}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("is recorded under Airflow's name for it, with who did it", async () => {
    const wrong: string[] = [];
    for (const each of TABLE) {
      if (each.role === "public") continue;
      await database.pool.query("truncate log");
      await ask(each, "ADMIN");
      const { rows } = await database.pool.query<{ event: string; owner: string }>("select event, owner from log");
      const found = rows.map(({ event, owner }) => `${event} by ${owner}`).join();
      const expected = each.event === null ? "" : `${each.event} by ${nameOf("ADMIN")}`;
      if (found !== expected) wrong.push(`${each.operation}: ${found}, not ${expected}`);
    }
    expect(wrong).toEqual([]);
  });
});

interface Recorded {
  /** As JSON texts. */
  bodies: Record<string, string | null>;
  requests: {
    method: "PATCH" | "POST" | "PUT" | "DELETE";
    url: string;
    body: string;
    logs: Record<string, string>[];
  }[];
}

it("is recorded with what Airflow records of it, everything secret masked", async () => {
  const recorded = JSON.parse(
    readFileSync(join(import.meta.dirname, "fixtures/airflow-audit.json"), "utf8"),
  ) as Recorded;
  const wrong: unknown[] = [];
  for (const { method, url, body: name, logs } of recorded.requests) {
    // Airflow looks for the file of a forged token before it records who asked.
    if (logs.length === 0) continue;
    await database.pool.query("truncate log");
    const body = recorded.bodies[name];
    const headers = { authorization: `Bearer ${tokens.get("ADMIN")}`, "content-type": "application/json" };
    await app.inject({ method, url, headers, ...(body ? { payload: body } : {}) });
    const { rows } = await database.pool.query<Record<string, unknown>>(
      "select event, owner, dag_id, task_id, run_id, map_index, logical_date::text, extra from log",
    );
    const found = rows.map((row) =>
      Object.fromEntries(Object.entries(row).map(([column, value]) => [column, String((value as string) ?? "")])),
    );
    const expected = logs.map((log) => ({
      ...log,
      owner: nameOf("ADMIN"),
      logical_date: log["logical_date"]?.replace("+00:00", "+00"),
    }));
    if (JSON.stringify(found) !== JSON.stringify(expected)) wrong.push({ method, url, name, found, expected });
  }
  expect(wrong).toEqual([]);
});

const NOT_SIGNED_IN = '{"detail":"Not authenticated"}';
const FORBIDDEN = '{"detail":"Forbidden"}';
