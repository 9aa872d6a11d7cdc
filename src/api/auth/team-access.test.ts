import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bareContext } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeRun, makeTaskInstance, makeVersion, NOON } from "../../../test/support/factories.ts";
import type { Role } from "../../domain/user.ts";
import { hashPassword } from "../../kit/password.ts";
import { VersionCache } from "../../store/dag-versions.ts";
import { setBundleTeams } from "../../store/teams.ts";
import { createUser } from "../../store/users.ts";
import { createApp } from "../app.ts";

/** Who may do what in multi-team mode, held against what Airflow itself answered (fixtures/airflow_teams.py). */

interface Write {
  method: "POST" | "PATCH";
  url: string;
  body: Record<string, unknown>;
  /** By user: status, detail of a 400, and whether a bulk answer reports errors. */
  answers: Record<string, [status: number, detail: unknown, failed: boolean]>;
}

interface Recorded {
  /** Of operations that need one to come as far as their door. */
  bodies: Record<string, object>;
  /** By operation and owner: who gets past the door. */
  operations: Record<string, Record<string, string[]>>;
  /** By request and user: what is listed; null where that is refused. */
  lists: Record<string, Record<string, string[] | null>>;
  writes: Write[];
}

const AIRFLOW = JSON.parse(readFileSync(join(import.meta.dirname, "fixtures/airflow-teams.json"), "utf8")) as Recorded;
const OWNERS = [
  ["a", "bundle_a", "team_a"],
  ["b", "bundle_b", "team_b"],
  ["none", "dags-folder", null],
] as const;
const USERS: Record<string, [Role, string[]]> = {
  "VIEWER of a": ["VIEWER", ["team_a"]],
  "USER of a": ["USER", ["team_a"]],
  "OP of a": ["OP", ["team_a"]],
  "OP of none": ["OP", []],
  "ADMIN of none": ["ADMIN", []],
};

let database: TestDatabase;
let dir: string;
let app: FastifyInstance;
const tokens = new Map<string, string>();

beforeAll(async () => {
  database = await createTestDatabase();
  dir = mkdtempSync(join(tmpdir(), "leoflow-teams-test-"));
  const passwordHash = await hashPassword("a password");
  const python = () => Promise.resolve({ status: true, message: "well" });
  const versions = new VersionCache(database.db);
  const graph = async (id: string) => (await versions.get(id)).graph;
  app = createApp(bareContext(database.db, dir, { multiTeam: true, python, graph }), {
    adminEmail: "a@b",
    adminPasswordHash: () => passwordHash,
    jwtSecret: "test-secret",
    cacheDir: join(dir, "cache"),
  });
  await app.ready();
  for (const [user, [role, teams]] of Object.entries(USERS)) {
    const username = user.toLowerCase().replaceAll(" ", "-");
    await createUser(database.db, { name: username, role, teams, passwordHash });
    const payload = { username, password: "a password" };
    const answer = await app.inject({ method: "POST", url: "/auth/token", payload });
    tokens.set(user, answer.json<{ access_token: string }>().access_token);
  }
});

afterAll(async () => {
  await app.close();
  await database.close();
  rmSync(dir, { recursive: true, force: true });
});

/** Whether a request may have changed something since the last `seed`. */
let dirty = true;

/** The rows of fixtures/airflow_teams.py, anew. */
async function seed(): Promise<void> {
  if (!dirty) return;
  dirty = false;
  const of = OWNERS.map(([owner, bundle, team], index) => {
    const [id, dag] = [index + 1, `of_${owner}`];
    const theirs = team === null ? "null" : `'${team}'`;
    return `
      insert into dag (dag_id, bundle_name, fileloc, relative_fileloc, owners, max_active_tasks, max_active_runs)
        values ('${dag}', '${bundle}', '/x', '${dag}.py', 'x', 1, 1);
      insert into dag_tag (dag_id, name) values ('${dag}', 'tag_${owner}');
      insert into dag_warning (dag_id, warning_type, message) values ('${dag}', 'asset conflict', 'm');
      insert into log (id, event, owner, extra, dag_id) overriding system value values (${id}, 'e', 'x', '', '${dag}');
      insert into import_error (bundle_name, filename, stacktrace, timestamp) values ('${bundle}', '${dag}.py', 's', now());
      insert into dag_run (dag_id, run_id, run_type, state, run_after, start_date, end_date)
        values ('${dag}', 'r', 'manual', 'success', now(), now(), now());
      insert into asset_event (asset_id, extra, timestamp, source_dag_id, source_map_index)
        values (1, '{}', now(), '${dag}', -1);
      insert into asset_dag_run_queue (asset_id, target_dag_id, created_at) values (1, '${dag}', now());
      insert into backfill (id, dag_id, from_date, to_date, dag_run_conf, reprocess_behavior, max_active_runs)
        overriding system value values (${id}, '${dag}', now(), now(), '{}', 'none', 1);
      insert into pool (pool, slots, team_name) values ('pool_${owner}', 1, ${theirs});
      insert into variable (key, val, is_encrypted, team_name) values ('variable_${owner}', 'v', false, ${theirs});
      insert into connection (conn_id, conn_type, team_name) values ('connection_${owner}', 'http', ${theirs});`;
  });
  const emptied = ["asset_event", "asset_dag_run_queue", "asset_active", "asset", "backfill", "dag_run", "dag", "log"];
  const owned = ["import_error", "pool", "variable", "connection", "dag_bundle_team", "team"];
  await database.pool.query(`
    ${[...emptied, ...owned].map((table) => `delete from ${table};`).join("\n")}
    insert into team values ('team_a'), ('team_b');
    insert into dag_bundle_team values ('bundle_a', 'team_a'), ('bundle_b', 'team_b');
    insert into asset (id, name, uri, "group") overriding system value values (1, 'asset', 's3://asset', 'asset');
    insert into asset_active values ('asset', 's3://asset');
    insert into asset_event (asset_id, extra, timestamp, source_map_index) values (1, '{}', now(), -1);
    insert into log (id, event, owner, extra) overriding system value values (4, 'of_nobody', 'x', '');
    ${of.join("")}`);
}

async function ask(user: string, method: "GET" | "POST" | "PATCH" | "PUT" | "DELETE", url: string, payload?: object) {
  const headers = { authorization: `Bearer ${tokens.get(user)}` };
  const answer = await app.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) });
  dirty ||= method !== "GET" && answer.statusCode < 400;
  const json =
    answer.body === "" || answer.body.startsWith("<") ? {} : (JSON.parse(answer.body) as { detail?: unknown });
  return { status: answer.statusCode, json, detail: json.detail };
}

const OTHERS: Record<string, string> = { try_number: "1", task_try_number: "1", map_index: "-1", version_number: "1" };

function fill(path: string, owner: string): string {
  const index = OWNERS.findIndex(([each]) => each === owner) + 1;
  const own: Record<string, string> = {
    dag_id: `of_${owner}`,
    backfill_id: String(index),
    event_log_id: String(index),
    pool_name: `pool_${owner}`,
    variable_key: `variable_${owner}`,
    connection_id: `connection_${owner}`,
    asset_id: "0",
    dag_run_id: "none",
  };
  return path.replaceAll(/\{(\w+)(:path)?\}/g, (_all, name: string) => own[name] ?? OTHERS[name] ?? `the_${name}`);
}

const bodyOf = (operation: string) => (operation.startsWith("GET") ? undefined : (AIRFLOW.bodies[operation] ?? {}));

/** Whether each of the users gets past the door, by owner. */
async function passing(operation: string, users = Object.keys(USERS)): Promise<Record<string, string[]>> {
  const [method = "GET", path = ""] = operation.split(" ") as ["GET", string];
  const named = path.includes("{dag_id}") || path.includes("_id}") || path.includes(":path}");
  const passed: Record<string, string[]> = {};
  for (const [owner] of OWNERS) {
    const list = (passed[owner] = [] as string[]);
    const query = !named || path === "/ui/structure/structure_data" ? `?dag_id=of_${owner}` : "";
    for (const user of users) {
      await seed();
      const { status, detail } = await ask(user, method, fill(path, owner) + query, bodyOf(operation));
      if (status !== 403 && !(status === 404 && detail === "Backfill not found")) list.push(user);
    }
  }
  return passed;
}

describe("in multi-team mode", () => {
  it("every operation on what has an owner is open to whom Airflow lets in", async () => {
    await seed();
    const wrong: unknown[] = [];
    for (const [operation, expected] of Object.entries(AIRFLOW.operations)) {
      const passed = await passing(operation);
      if (JSON.stringify(passed) !== JSON.stringify(expected))
        wrong.push(JSON.stringify({ operation, passed, expected }));
    }
    expect(wrong).toEqual([]);
  });

  it("lists hold what Airflow lists", async () => {
    await seed();
    const wrong: unknown[] = [];
    for (const [request, byUser] of Object.entries(AIRFLOW.lists)) {
      const [method, url = ""] = request.split(" ") as ["GET" | "POST", string];
      for (const [user, expected] of Object.entries(byUser)) {
        const body = method === "POST" ? {} : undefined;
        const { status, json } = await ask(user, method, url.replace("{asset_id}", "1"), body);
        const [items = []] = Object.values(json).filter((value) => Array.isArray(value)) as unknown[][];
        const found = status === 403 ? null : items.map(nameOf).sort();
        if (JSON.stringify(found) !== JSON.stringify(expected))
          wrong.push(JSON.stringify({ request, user, status, found, expected }));
      }
    }
    expect(wrong).toEqual([]);
  });

  it("writes that name a team, and those that name none, are answered as Airflow answers them", async () => {
    const wrong: unknown[] = [];
    for (const { method, url, body, answers } of AIRFLOW.writes) {
      for (const [user, [status, detail, failed]] of Object.entries(answers)) {
        await seed();
        const answer = await ask(user, method, url, body);
        const outcomes = Object.values(answer.json) as ({ errors?: unknown[] } | null)[];
        const found = [
          answer.status,
          answer.status === 400 ? answer.detail : null,
          outcomes.some((outcome) => (outcome?.errors?.length ?? 0) > 0),
        ];
        const expected = [status, detail, failed];
        if (JSON.stringify(found) !== JSON.stringify(expected))
          wrong.push(JSON.stringify({ method, url, body, user, found, expected }));
      }
    }
    expect(wrong).toEqual([]);
  });

  it("nothing that is not asked for by name tells of another team", async () => {
    dirty = true;
    await seed();
    await fillIn();
    const shownTo = async (user: string) => {
      const shown: string[] = [];
      for (const operation of Object.keys(ACCESS)) {
        const [method, path = ""] = operation.split(" ");
        if ((method !== "GET" && !operation.endsWith("/list")) || path.includes("/auth/")) continue;
        const url = path.replaceAll(/\{asset_id\}/g, "1").replaceAll(/\{\w+(:path)?\}/g, "~");
        for (const query of QUERIES[operation] ?? [""]) {
          const { body, statusCode } = await app.inject({
            method: method as "GET",
            url: url + query,
            headers: { authorization: `Bearer ${tokens.get(user)}` },
            ...(method === "POST" ? { payload: {} } : {}),
          });
          if (/_b\b/.test(body)) shown.push(operation + query);
          // Counts name nobody; of a run in each of the three DAGs two are seen.
          if (path.includes("dashboard"))
            counted.push([user, statusCode, sum(JSON.parse(body) as Record<string, unknown>)]);
        }
      }
      return shown;
    };
    const counted: unknown[] = [];
    // As in Airflow, whoever may read assets sees which DAGs they have to do with.
    const assets = ["GET /api/v2/assets", "GET /api/v2/assets/{asset_id}"];
    expect(await shownTo("OP of a")).toEqual(assets);
    expect((await shownTo("ADMIN of none")).sort()).toEqual([...assets, ...EVERYWHERE].sort());
    expect(counted).toEqual([
      ["OP of a", 200, 2],
      ["OP of a", 200, 4],
      ["ADMIN of none", 200, 3],
      ["ADMIN of none", 200, 6],
    ]);
  });

  it("what a user is moved to counts at once, and so does what a DAG's bundle is given to", async () => {
    dirty = true;
    await seed();
    const mine = async () => (await ask("USER of a", "GET", "/api/v2/dags/of_b")).status;
    const before = await mine();
    const moved = await ask("ADMIN of none", "PATCH", "/api/leoflow/users/user-of-a", { teams: ["team_a", "team_b"] });
    expect([before, moved.status, moved.json, await mine()]).toMatchObject([
      403,
      200,
      { name: "user-of-a", teams: ["team_a", "team_b"] },
      404,
    ]);
    const listed = await ask("ADMIN of none", "GET", "/api/leoflow/users");
    expect(listed.json).toMatchObject({ teams: ["team_a", "team_b"] });
    expect((await ask("ADMIN of none", "PATCH", "/api/leoflow/users/user-of-a", { teams: ["team_c"] })).status).toBe(
      400,
    );
    await ask("ADMIN of none", "PATCH", "/api/leoflow/users/user-of-a", { teams: ["team_a"] });
    expect(await mine()).toBe(403);
    await setBundleTeams(database.db, new Map([["bundle_a", "team_a"]]));
    expect(await mine()).toBe(404);
    dirty = true;
    const { access_token: token = "" } = (
      await app.inject({
        method: "POST",
        url: "/auth/token",
        payload: { username: "user-of-a", password: "a password" },
      })
    ).json<{ access_token?: string }>();
    expect(JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString())).toMatchObject({
      teams: ["team_a"],
    });
  });

  it("assets start no DAG of another team, and leave its queue alone", async () => {
    dirty = true;
    await seed();
    const { pool } = database;
    await pool.query("insert into task_outlet_asset_reference (asset_id, dag_id, task_id) values (1, 'of_b', 'a')");
    const materialize = (user: string) => ask(user, "POST", "/api/v2/assets/1/materialize", {});
    expect(await materialize("OP of a")).toMatchObject({
      status: 403,
      detail: "User is not authorized to trigger a run for Dag: of_b that materializes this asset",
    });
    expect((await materialize("ADMIN of none")).status).toBe(404);
    const queued = async () =>
      (await pool.query<{ dag: string }>("select target_dag_id as dag from asset_dag_run_queue")).rows.map(
        ({ dag }) => dag,
      );
    expect((await ask("OP of a", "DELETE", "/api/v2/assets/1/queuedEvents")).status).toBe(204);
    expect(await queued()).toEqual(["of_b"]);
    const told = (user: string) => ask(user, "POST", "/api/v2/assets/events", { asset_id: 1 });
    for (const [owner] of OWNERS) {
      await pool.query("insert into dag_schedule_asset_reference (asset_id, dag_id) values (1, $1)", [`of_${owner}`]);
    }
    await pool.query("delete from asset_dag_run_queue");
    expect([(await told("OP of a")).status, (await queued()).sort()]).toEqual([200, ["of_a", "of_none"]]);
    expect([(await told("ADMIN of none")).status, (await queued()).sort()]).toEqual([200, ["of_a", "of_b", "of_none"]]);
  });

  it("what a task waits for is told without naming other teams", async () => {
    dirty = true;
    await seed();
    const { db, pool } = database;
    for (const [dag_id, state] of [
      ["of_a", "scheduled"],
      ["of_b", "running"],
    ] as const) {
      const { id } = await makeVersion(db, { dag_id }, { tasks: [{ id: "a", pool: "pool_none" }] });
      const run = await makeRun(db, { dag_id, run_id: "now", dag_version_id: id });
      const worker = state === "running" ? { start_date: NOON, pid: 1, hostname: "here", queued_dttm: NOON } : {};
      await makeTaskInstance(db, { dag_run_id: run.id, state, pool: "pool_none", try_number: 1, ...worker });
    }
    const why = async (user: string) =>
      (await ask(user, "GET", "/api/leoflow/why/of_a/now/a")).json as { reasons: { code: string; message: string }[] };
    const needs = "a needs 1 slot of pool pool_none, where 1 of 1 are in use, taken by";
    expect((await why("VIEWER of a")).reasons).toEqual([
      expect.objectContaining({ code: "pool", message: `${needs} 1 of other teams.`, task_instances: [], more: 1 }),
    ]);
    expect((await why("ADMIN of none")).reasons).toMatchObject([{ message: `${needs} of_b.a of now.` }]);
    await pool.query("update pool set team_name = 'team_b' where pool = 'pool_none'");
    expect((await why("VIEWER of a")).reasons).toMatchObject([
      { code: "pool_of_team", message: "a wants pool pool_none, which belongs to another team." },
      { code: "pool" },
    ]);
    expect((await ask("VIEWER of a", "GET", "/api/leoflow/why/of_b/now/a")).status).toBe(403);
  });

  it("bulk changes of tasks report those of other teams, and tests of connections keep to the team", async () => {
    await seed();
    const entities = [{ dag_id: "of_b", dag_run_id: "r", task_id: "a" }];
    const bulk = await ask("USER of a", "PATCH", "/api/v2/dags/~/dagRuns/~/taskInstances", {
      actions: [{ action: "delete", entities }],
    });
    expect([bulk.status, bulk.json]).toMatchObject([
      200,
      {
        delete: {
          errors: [{ error: "User is not authorized to delete task instances for DAG 'of_b'", status_code: 403 }],
        },
      },
    ]);
    const enqueue = (user: string, connection: string, team: string | null) =>
      ask(user, "POST", "/api/v2/connections/enqueue-test", {
        connection_id: connection,
        conn_type: "http",
        team_name: team,
      });
    expect((await enqueue("OP of a", "connection_b", null)).status).toBe(403);
    expect((await enqueue("OP of a", "new", "team_b")).status).toBe(403);
    expect(await enqueue("ADMIN of none", "connection_b", "team_a")).toMatchObject({
      status: 403,
      detail: "team_name `team_a` does not match the team of connection `connection_b`.",
    });
    const { json } = await enqueue("ADMIN of none", "connection_b", "team_b");
    const { token } = json as { token?: string };
    const poll = async (user: string) =>
      (
        await app.inject({
          url: "/api/v2/connections/enqueue-test",
          headers: { authorization: `Bearer ${tokens.get(user)}`, "airflow-connection-test-token": token ?? "" },
        })
      ).statusCode;
    expect([await poll("OP of a"), await poll("ADMIN of none")]).toEqual([404, 200]);
  });
});

const ACCESS = JSON.parse(readFileSync(join(import.meta.dirname, "fixtures/airflow-access.json"), "utf8")) as object;
const QUERIES: Record<string, string[]> = {
  "GET /ui/dashboard/historical_metrics_data": ["?start_date=2025-01-01T00:00:00Z"],
  "GET /ui/dependencies": ["", "?dependency_type=data&node_id=asset:1"],
  "GET /ui/structure/structure_data": ["?dag_id=of_none&external_dependencies=true"],
  "GET /ui/partitioned_dag_runs": ["", "?dag_id=of_b"],
};
/** What tells an admin of all teams. */
const EVERYWHERE = [
  "GET /api/v2/assets/events",
  "GET /api/v2/assets/{asset_id}/queuedEvents",
  "GET /api/v2/connections",
  "GET /api/v2/dagStats",
  "GET /api/v2/dagTags",
  "GET /api/v2/dagWarnings",
  "GET /api/v2/dags",
  "GET /api/v2/dags/{dag_id}/dagRuns",
  "GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails",
  "GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances",
  "GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries",
  "GET /api/v2/dags/{dag_id}/dagVersions",
  "GET /api/v2/eventLogs",
  "GET /api/v2/importErrors",
  "GET /api/v2/pools",
  "GET /api/v2/variables",
  "GET /ui/backfills",
  "GET /ui/dags",
  "GET /ui/dags/{dag_id}/dagRuns/{dag_run_id}/deadlines",
  "GET /ui/dependencies",
  "GET /ui/dependencies?dependency_type=data&node_id=asset:1",
  "GET /ui/partitioned_dag_runs",
  "GET /ui/partitioned_dag_runs?dag_id=of_b",
  "GET /ui/structure/structure_data?dag_id=of_none&external_dependencies=true",
  "GET /ui/teams",
  "POST /api/v2/dags/{dag_id}/dagRuns/list",
  "POST /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list",
];

/** The DAGs get a version that starts another DAG, and their runs a task with all that a task can have. */
async function fillIn(): Promise<void> {
  const { db, pool } = database;
  for (const [owner] of OWNERS) {
    const dagId = `of_${owner}`;
    const link = {
      source: dagId,
      target: "of_b",
      label: "starts",
      dependency_type: "trigger",
      dependency_id: "starts",
    };
    await makeVersion(db, { dag_id: dagId }, { dag: { dag_dependencies: [link] } });
    await pool.query(
      "update dag_run set dag_version_id = (select current_version_id from dag where dag_id = $1) where dag_id = $1",
      [dagId],
    );
    const run = await db.selectFrom("dag_run").select("id").where("dag_id", "=", dagId).executeTakeFirstOrThrow();
    const ti = await makeTaskInstance(db, { dag_run_id: run.id, state: "success", start_date: NOON, end_date: NOON });
    await pool.query(
      `with asked as (insert into hitl_detail (ti_id, options, subject) values ($1, '[]', 's')
      ), pushed as (
        insert into xcom (dag_run_id, task_id, key, dag_id, run_id, value) values ($2, 'a', 'k', $3, 'r', '1')
      ), outlet as (
        insert into task_outlet_asset_reference (asset_id, dag_id, task_id) values (1, $3, 'a')
      ), partition as (
        insert into asset_partition_dag_run (target_dag_id, partition_key, created_at, updated_at) values ($3, 'p', now(), now())
      ) insert into deadline (id, dag_run_id, deadline_time, created_at, last_updated_at)
      values (gen_random_uuid(), $2, now(), now(), now())`,
      [ti.id, run.id, dagId],
    );
  }
}

/** Of the numbers in an answer that count rows. */
function sum(answer: Record<string, unknown>): number {
  return Object.entries(answer)
    .filter(([name]) => name.startsWith("active_") || name.endsWith("_states"))
    .flatMap(([, value]) => (typeof value === "number" ? [value] : Object.values(value as Record<string, number>)))
    .reduce((total, count) => total + count, 0);
}

/** What the recording calls an item of a list. */
function nameOf(item: unknown): string {
  if (typeof item === "string") return item;
  const fields = item as Record<string, string | null>;
  for (const name of ["source_dag_id", "dag_id", "filename", "name", "key", "connection_id"]) {
    if (name in fields) return fields[name] ?? "";
  }
  return "";
}
