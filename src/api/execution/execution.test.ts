import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { operationsOf, type OpenApi, type Operation as Documented } from "../../../test/contract/openapi.ts";
import { makeAssetDag, anAsset, port } from "../../../test/support/assets.ts";
import {
  askTestPython,
  createTestExecutionApi,
  type HttpAnswer,
  type TestExecutionApi,
} from "../../../test/support/execution-api.ts";
import { makeRun, makeRunningTask, makeTaskInstance, NOON, unique } from "../../../test/support/factories.ts";
import { newId } from "../../kit/ids.ts";
import type { JsonText } from "../../kit/json-text.ts";
import { OPERATIONS } from "./index.ts";
import { hasOperation, VERSIONS, type Version } from "./versions.ts";

let api: TestExecutionApi;
let documents: Map<Version, Documented[]>;
// Airflow takes six seconds of a CPU to make its documents.
beforeAll(async () => {
  api = await createTestExecutionApi({ deferral: "park" });
  const texts = (await askTestPython({ kind: "execution_openapi" })) as Record<Version, string>;
  documents = new Map(VERSIONS.map((version) => [version, documented(texts[version])]));
}, 600_000);
afterAll(() => api.close());

/** Airflow writes `oneOf` for `anyOf`: of an integer, "number" is true as well. */
function documented(text: string): Documented[] {
  return operationsOf(JSON.parse(text.replaceAll('"oneOf"', '"anyOf"')) as OpenApi);
}
beforeEach(() => api.t.events.splice(0));

const START = { state: "running", hostname: "there", unixname: "leo", pid: 7, start_date: NOON };
const END = { end_date: "2026-01-01T12:00:10Z" };

/** A try that waits to be started, with its run. */
async function queued(
  columns: Parameters<typeof makeRunningTask>[1] = {},
  shape: Parameters<typeof makeRunningTask>[2] = {},
) {
  const { ti, run, dag } = await makeRunningTask(api.t.database.db, columns, shape);
  return { id: ti.id, dagId: dag.dag_id, runId: run.run_id, taskId: ti.task_id, dagRunId: run.id };
}

async function running(...made: Parameters<typeof queued>) {
  const task = await queued(...made);
  const started = await api.call(`PATCH /task-instances/${task.id}/run`, { as: task.id, body: START });
  expect(started.status).toBe(200);
  return task;
}

const stateOf = async (id: string) =>
  (await api.t.database.db.selectFrom("task_instance").select("state").where("id", "=", id).executeTakeFirst())?.state;

const detail = (answer: HttpAnswer) => (answer.body as { detail: unknown }).detail;

describe("the contract", () => {
  it("has the operations that Airflow's document of each version has", () => {
    for (const version of VERSIONS) {
      const ours = OPERATIONS.map(({ name }) => name).filter((name) => hasOperation(version, name));
      expect(ours.toSorted(), version).toEqual(
        documents
          .get(version)
          ?.map(({ name }) => name)
          .toSorted(),
      );
    }
    expect(documents.get("2026-06-30")).toHaveLength(55);
  });

  it("takes the same requests in every version, as Airflow does", () => {
    const requests = (version: Version) =>
      new Map(
        documents.get(version)?.map((operation) => {
          const { name, parameters, body } = operation;
          const branches = body ? (operation.resolve(body.schema).anyOf ?? [body.schema]) : [];
          const fields = branches.map((branch) => Object.keys(operation.resolve(branch).properties ?? {}));
          return [name, [parameters.map((parameter) => parameter.name), fields]];
        }),
      );
    const newest = requests("2026-06-30");
    for (const version of VERSIONS) {
      for (const [name, request] of requests(version)) {
        if (newest.has(name)) expect([version, name, request]).toEqual([version, name, newest.get(name)]);
      }
    }
  });

  it("answers every operation as Airflow's document of its version says", async () => {
    const seen = new Map<string, Set<number>>();
    const faults: string[] = [];
    /** Sends it in every version that has it, and holds the answers to that version's document. */
    const send = async (request: string, operation: string, options: Parameters<TestExecutionApi["call"]>[1] = {}) => {
      const isRead = /^(GET|HEAD) /.test(request);
      let newest: HttpAnswer | undefined;
      for (const version of isRead ? VERSIONS : (["2026-06-30"] as const)) {
        const documented = documents.get(version)?.find(({ name }) => name === operation);
        if (!documented) continue;
        const answer = await api.call(request, { version, ...options });
        const type = answer.headers["content-type"] ?? "";
        const said = answer.status < 400 ? documented.faults(answer.status, type, answer.text && answer.body) : [];
        faults.push(...said.map((fault) => `${version} ${request}: ${fault}`));
        newest ??= answer;
      }
      if (!newest) throw new Error(`no version has ${operation}`);
      seen.set(operation, (seen.get(operation) ?? new Set()).add(newest.status));
      return newest;
    };

    const asset = anAsset(unique("asset"), `s3://${unique("asset")}`);
    const upstream = unique("upstream");
    await makeAssetDag(api.t.database.db, upstream, { tasks: [{ id: "a", outlets: [port(asset)] }] });
    const upstreamRun = await makeRun(api.t.database.db, { dag_id: upstream, state: "running" });
    const producer = await makeTaskInstance(api.t.database.db, {
      dag_run_id: upstreamRun.id,
      task_id: "a",
      state: "queued",
    });
    const produced = { as: producer.id };
    const of = (id: string) => `/task-instances/${id}`;
    await send(`PATCH ${of(producer.id)}/run`, "PATCH /task-instances/{task_instance_id}/run", {
      as: producer.id,
      scope: "workload",
      body: START,
    });
    await send(
      `GET ${of(producer.id)}/validate-inlets-and-outlets`,
      "GET /task-instances/{task_instance_id}/validate-inlets-and-outlets",
      produced,
    );
    const state = "PATCH /task-instances/{task_instance_id}/state";
    await send(`PATCH ${of(producer.id)}/state`, state, {
      ...produced,
      body: {
        state: "success",
        ...END,
        task_outlets: [{ name: asset.name, uri: asset.uri, type: "Asset" }],
        outlet_events: [{ dest_asset_key: { name: asset.name, uri: asset.uri }, extra: { rows: 1.5 } }],
      },
    });

    const task = await running({ max_tries: 2 }, { run: { note: "a note", conf: '{"rate": 1.0}' as JsonText } });
    const mine = { as: task.id };
    const xcom = `/xcoms/${task.dagId}/${task.runId}/${task.taskId}/some/key`;
    const XCOM = "/xcoms/{dag_id}/{run_id}/{task_id}/{key}";
    await send(`POST ${xcom}?map_index=0&mapped_length=2`, `POST ${XCOM}`, { ...mine, body: "[1.0, 2]" });
    await send(`GET ${xcom}?map_index=0`, `GET ${XCOM}`, mine);
    await send(`HEAD ${xcom}`, `HEAD ${XCOM}`, mine);
    await send(`GET ${xcom}/item/-1`, `GET ${XCOM}/item/{offset}`, mine);
    await send(`GET ${xcom}/slice?start=0`, `GET ${XCOM}/slice`, mine);
    await send(`DELETE ${xcom}?map_index=0`, `DELETE ${XCOM}`, mine);

    const run = `/dag-runs/${task.dagId}/${task.runId}`;
    await send(`GET ${run}`, "GET /dag-runs/{dag_id}/{run_id}", mine);
    await send(`GET ${run}/state`, "GET /dag-runs/{dag_id}/{run_id}/state", mine);
    await send(`POST /dag-runs/${task.dagId}/made`, "POST /dag-runs/{dag_id}/{run_id}", {
      ...mine,
      body: { conf: { a: 1 }, logical_date: "2026-02-02T00:00:00Z" },
    });
    await send(`POST /dag-runs/${task.dagId}/made/clear`, "POST /dag-runs/{dag_id}/{run_id}/clear", mine);
    await send(`GET /dag-runs/count?dag_id=${task.dagId}&states=running`, "GET /dag-runs/count", mine);
    const later = `logical_date=${encodeURIComponent("2030-01-01T00:00:00+00:00")}`;
    await send(`GET /dag-runs/previous?dag_id=${task.dagId}&${later}`, "GET /dag-runs/previous", mine);
    await send(`GET /dag-runs/${task.dagId}/previous?${later}`, "GET /dag-runs/{dag_id}/previous", mine);
    await send(`GET /dags/${task.dagId}`, "GET /dags/{dag_id}", mine);

    for (const what of ["count", "states", "breadcrumbs"]) {
      const query = `dag_id=${task.dagId}&run_id=${task.runId}&task_ids=${task.taskId}&map_index=-1`;
      await send(`GET /task-instances/${what}?${query}`, `GET /task-instances/${what}`, mine);
    }
    await send(
      `GET /task-instances/previous/${task.dagId}/${task.taskId}?${later}`,
      "GET /task-instances/previous/{dag_id}/{task_id}",
      mine,
    );
    const own = (method: string, what: string) =>
      [`${method} ${of(task.id)}/${what}`, `${method} /task-instances/{task_instance_id}/${what}`] as const;
    await send(...own("PUT", "heartbeat"), { ...mine, body: { hostname: "there", pid: 7 } });
    await send(...own("PUT", "rtif"), { ...mine, body: { command: "echo" } });
    await send(...own("PATCH", "rendered-map-index"), { ...mine, body: '"label"' });
    await send(...own("PATCH", "skip-downstream"), { ...mine, body: { tasks: ["b", ["c", 1]] } });
    await send(...own("GET", "previous-successful-dagrun"), mine);
    await send(
      `GET /task-reschedules/${task.id}/start_date`,
      "GET /task-reschedules/{task_instance_id}/start_date",
      mine,
    );

    await send("PUT /variables/some/key", "PUT /variables/{variable_key}", {
      ...mine,
      body: { val: "v", description: null },
    });
    await send("GET /variables/some/key", "GET /variables/{variable_key}", mine);
    await send("GET /variables/keys?prefix=some", "GET /variables/keys", mine);
    await send("DELETE /variables/some/key", "DELETE /variables/{variable_key}", mine);
    await api.t.database.db
      .insertInto("connection")
      .values({ conn_id: "db", conn_type: "postgres", port: 5432 })
      .execute();
    await send("GET /connections/db", "GET /connections/{connection_id}", mine);

    const byName = `name=${asset.name}`;
    const byUri = `uri=${encodeURIComponent(asset.uri)}`;
    await send(`GET /assets/by-name?${byName}`, "GET /assets/by-name", mine);
    await send(`GET /assets/by-uri?${byUri}`, "GET /assets/by-uri", mine);
    await send("GET /assets/by-alias?alias_name=none", "GET /assets/by-alias", mine);
    await send(`GET /asset-events/by-asset?${byName}&uri=&ascending=false&limit=3`, "GET /asset-events/by-asset", mine);
    await send("GET /asset-events/by-asset-alias?name=none", "GET /asset-events/by-asset-alias", mine);
    for (const [by, query] of [
      ["name", byName],
      ["uri", byUri],
    ] as const) {
      const path = `/store/asset/by-${by}`;
      await send(`PUT ${path}/value?${query}&key=k`, `PUT ${path}/value`, { ...mine, body: '{"value": 1.0}' });
      const stored = await send(`GET ${path}/value?${query}&key=k`, `GET ${path}/value`, mine);
      expect(stored.text).toBe('{"value":1.0}');
      await send(`DELETE ${path}/value?${query}&key=k`, `DELETE ${path}/value`, mine);
      await send(`DELETE ${path}/clear?${query}`, `DELETE ${path}/clear`, mine);
    }
    const store = `/store/ti/${task.id}/a%2Fb`;
    const STORE = "/store/ti/{task_instance_id}";
    await send(`PUT ${store}`, `PUT ${STORE}/{key}`, { ...mine, body: '{"value": {"n": 1.0}}' });
    expect((await send(`GET ${store}`, `GET ${STORE}/{key}`, mine)).text).toBe('{"value":{"n":1.0}}');
    await send(`DELETE ${store}`, `DELETE ${STORE}/{key}`, mine);
    await send(`DELETE /store/ti/${task.id}`, `DELETE ${STORE}`, mine);

    const HITL = "/hitlDetails/{task_instance_id}";
    const ask = { ti_id: task.id, options: ["yes", "no"], subject: "Really?", params: { n: 1.0 } };
    await send(`POST /hitlDetails/${task.id}`, `POST ${HITL}`, { ...mine, body: ask });
    await send(`GET /hitlDetails/${task.id}`, `GET ${HITL}`, mine);
    await send(`PATCH /hitlDetails/${task.id}`, `PATCH ${HITL}`, {
      ...mine,
      body: { ti_id: task.id, chosen_options: ["yes"] },
    });
    await send("GET /health", "GET /health");
    await send("GET /health/ping", "GET /health/ping");
    const test = newId();
    const testing = { as: test, scope: "workload" } as const;
    const TEST = "/connection-tests/{connection_test_id}";
    await send(`GET /connection-tests/${test}/connection`, `GET ${TEST}/connection`, testing);
    await send(`PATCH /connection-tests/${test}`, `PATCH ${TEST}`, { ...testing, body: { state: "success" } });

    expect(faults).toEqual([]);
    const unsuccessful = OPERATIONS.map(({ name }) => name).filter(
      (name) => ![...(seen.get(name) ?? [])].some((status) => status < 300),
    );
    // There is never a connection test for a worker.
    expect(unsuccessful).toEqual([`GET ${TEST}/connection`, `PATCH ${TEST}`]);
  });

  it("answers the start of a task as each version has it", async () => {
    for (const version of VERSIONS) {
      const task = await queued(
        { next_method: "resume", next_kwargs: '{"event":{"at":1.0}}' as JsonText, start_date: NOON },
        { run: { conf: null, start_date: null, note: "a note", partition_key: "k" } },
      );
      const answer = await api.call(`PATCH /task-instances/${task.id}/run`, { as: task.id, version, body: START });
      expect(answer.headers["airflow-api-version"]).toBe(version);
      const run = documents.get(version)?.find(({ name }) => name === "PATCH /task-instances/{task_instance_id}/run");
      expect(run?.faults(answer.status, "application/json", answer.body), version).toEqual([]);
      const { dag_run, ...context } = answer.body as { dag_run: Record<string, unknown>; [field: string]: unknown };
      const has = (...names: string[]) => names.map((name) => name in dag_run);
      expect(has("team_name", "partition_date")).toEqual(Array(2).fill(version >= "2026-06-30"));
      expect(has("note", "partition_key")).toEqual(Array(2).fill(version >= "2026-04-06"));
      expect(has("triggering_user_name")).toEqual([version >= "2025-11-05"]);
      expect(has("state")).toEqual([version >= "2025-08-10"]);
      expect(dag_run["conf"]).toEqual(version >= "2025-10-27" ? null : {});
      expect(dag_run["start_date"]).toBe(version >= "2026-04-06" ? null : dag_run["run_after"]);
      expect("start_date" in context).toBe(version >= "2026-04-06");
      expect("upstream_map_indexes" in context).toBe(version < "2026-04-06");
      // What SDKs before 1.2 read is what Airflow writes DAGs with.
      const older = { __type: "dict", __var: { event: { __type: "dict", __var: { at: 1 } } } };
      expect(context["next_kwargs"]).toEqual(version >= "2026-04-06" ? { event: { at: 1 } } : older);
      expect(answer.text).toContain('{"at":1.0}');
    }
  });
});

describe("a version", () => {
  it("is the newest that is not newer than the header", async () => {
    const asked = async (version: string) => api.call("GET /variables/keys", { as: newId(), version });
    expect((await asked("2030-01-01")).status).toBe(200);
    const between = await asked("2026-05-01");
    expect([between.status, between.headers["airflow-api-version"]]).toEqual([404, "2026-05-01"]);
    expect((await api.call("GET /health", { version: "2025-04-10" })).status).toBe(404);
    expect((await api.call("GET /health", { version: "latest" })).status).toBe(422);
    expect((await api.call("GET /health", {})).headers["airflow-api-version"]).toBe("2026-06-30");
  });
});

describe("a token", () => {
  const variable = "GET /variables/keys";

  it("is asked for, and is one of a task", async () => {
    const missing = await api.call(variable, {});
    expect([missing.status, detail(missing), missing.headers["content-type"]]).toEqual([
      401,
      "Missing auth token",
      "application/json",
    ]);
    expect((await api.call(variable, { token: "nonsense" })).status).toBe(403);
    expect((await api.call(variable, { as: "admin" })).status).toBe(403);
  });

  it("of a workload starts its task, is exchanged there, and is good for nothing else", async () => {
    const task = await queued();
    const workload = { as: task.id, scope: "workload" } as const;
    const refused = await api.call(variable, workload);
    expect([refused.status, detail(refused)]).toEqual([
      403,
      "Token type 'workload' not allowed for this endpoint. Allowed types: execution",
    ]);
    const started = await api.call(`PATCH /task-instances/${task.id}/run`, { ...workload, body: START });
    const token = started.headers["refreshed-api-token"] ?? "";
    expect(await api.tokens.verify(token)).toMatchObject({ id: task.id, scope: "execution" });
    expect((await api.call(variable, { token })).status).toBe(200);
    const again = await api.call(`PATCH /task-instances/${task.id}/run`, { token, body: START });
    expect([again.status, again.headers["refreshed-api-token"]]).toEqual([200, undefined]);
  });

  it("of another task reaches nothing of a task, and writes no XComs of its run", async () => {
    const task = await running();
    const other = await running();
    const id = task.id;
    const beat = { hostname: "there", pid: 7 };
    const requests: [string, unknown?][] = [
      [`PATCH /task-instances/${id}/run`, START],
      [`PATCH /task-instances/${id}/state`, { state: "success", ...END }],
      [`PUT /task-instances/${id}/heartbeat`, beat],
      [`PUT /task-instances/${id}/rtif`, {}],
      [`PATCH /task-instances/${id}/skip-downstream`, { tasks: [] }],
      [`PATCH /task-instances/${id}/rendered-map-index`, "x"],
      [`GET /task-instances/${id}/previous-successful-dagrun`],
      [`GET /task-instances/${id}/validate-inlets-and-outlets`],
      [`GET /task-reschedules/${id}/start_date`],
      [`GET /store/ti/${id}/k`],
      [`PUT /store/ti/${id}/k`, { value: 1 }],
      [`DELETE /store/ti/${id}/k`],
      [`DELETE /store/ti/${id}`],
      [`POST /hitlDetails/${id}`, { ti_id: id, options: ["a"], subject: "s" }],
      [`PATCH /hitlDetails/${id}`, { ti_id: id, chosen_options: ["a"] }],
      [`GET /hitlDetails/${id}`],
      [`POST /xcoms/${task.dagId}/${task.runId}/${task.taskId}/k`, 1],
      [`DELETE /xcoms/${task.dagId}/${task.runId}/${task.taskId}/k`],
    ];
    for (const [request, body] of requests) {
      const answer = await api.call(request, {
        as: other.id,
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      expect([request, answer.status]).toEqual([request, 403]);
    }
    expect(await stateOf(id)).toBe("running");
    const read = await api.call(`GET /xcoms/${task.dagId}/${task.runId}/${task.taskId}/k`, { as: other.id });
    expect(read.status).toBe(404);
  });

  it("is made anew when it is old, while its task runs", async () => {
    const task = await running();
    const beat = `PUT /task-instances/${task.id}/heartbeat`;
    const body = { hostname: "there", pid: 7 };
    const token = await api.tokens.issue(task.id, "execution");
    api.t.clock.advanceSeconds(470);
    expect((await api.call(beat, { token, body })).headers["refreshed-api-token"]).toBeUndefined();
    api.t.clock.advanceSeconds(20);
    const renewed = (await api.call(beat, { token, body })).headers["refreshed-api-token"] ?? "";
    api.t.clock.advanceSeconds(130);
    expect((await api.call(beat, { token, body })).status).toBe(403);
    expect((await api.call(beat, { token: renewed, body })).status).toBe(204);
    const done = { state: "skipped", ...END };
    expect((await api.call(`PATCH /task-instances/${task.id}/state`, { token: renewed, body: done })).status).toBe(204);
    api.t.clock.advanceSeconds(400);
    const after = await api.call(variable, { token: renewed });
    expect([after.status, after.headers["refreshed-api-token"]]).toEqual([200, undefined]);
  });
});

describe("a task's life", () => {
  it("refuses a second start, and tells the same process the same again", async () => {
    const task = await running();
    const start = (pid: number) =>
      api.call(`PATCH /task-instances/${task.id}/run`, { as: task.id, body: { ...START, pid } });
    expect((await start(7)).status).toBe(200);
    const refused = await start(8);
    expect([refused.status, detail(refused)]).toMatchObject([
      409,
      { reason: "invalid_state", previous_state: "running" },
    ]);
    const unknown = newId();
    expect((await api.call(`PATCH /task-instances/${unknown}/run`, { as: unknown, body: START })).status).toBe(404);
  });

  it("takes every end and every pause once", async () => {
    const report = (id: string, body: unknown) => api.call(`PATCH /task-instances/${id}/state`, { as: id, body });
    const resume = { next_method: "go_on", next_kwargs: { n: 1 } };
    const bodies: Record<string, unknown>[] = [
      { state: "failed", ...END },
      { state: "skipped", ...END },
      { state: "removed", ...END },
      { state: "success", ...END, rendered_map_index: "label" },
      { state: "up_for_reschedule", ...END, reschedule_date: "2026-01-01T13:00:00Z" },
      { state: "deferred", classpath: "a.Trigger", trigger_kwargs: { moment: 1 }, trigger_timeout: "PT90S", ...resume },
    ];
    for (const body of bodies) {
      const task = await running({ max_tries: 1 });
      expect([body["state"], (await report(task.id, body)).status]).toEqual([body["state"], 204]);
      expect(await stateOf(task.id)).toBe(body["state"]);
      expect((await report(task.id, body)).status).toBe(200);
      const late = await report(task.id, { state: body["state"] === "failed" ? "success" : "failed", ...END });
      expect([late.status, detail(late)]).toMatchObject([
        409,
        { reason: "invalid_state", previous_state: body["state"] },
      ]);
    }
    const retried = await running({ max_tries: 1 });
    expect((await report(retried.id, { state: "up_for_retry", ...END })).status).toBe(204);
    expect((await report(retried.id, { state: "success", ...END })).status).toBe(410);
    const beat = await api.call(`PUT /task-instances/${retried.id}/heartbeat`, {
      as: retried.id,
      body: { hostname: "there", pid: 7 },
    });
    expect(beat.status).toBe(410);
    const refused = await report((await running()).id, { state: "scheduled" });
    expect(refused.status).toBe(422);
  });

  it("is told why a heartbeat is not welcome", async () => {
    const task = await running();
    const beat = (pid: number) =>
      api.call(`PUT /task-instances/${task.id}/heartbeat`, { as: task.id, body: { hostname: "there", pid } });
    expect((await beat(7)).status).toBe(204);
    expect(detail(await beat(8))).toMatchObject({
      reason: "running_elsewhere",
      current_hostname: "there",
      current_pid: 7,
    });
    await api.call(`PATCH /task-instances/${task.id}/state`, { as: task.id, body: { state: "failed", ...END } });
    expect(detail(await beat(7))).toMatchObject({ reason: "not_running", current_state: "failed" });
  });

  it("keeps data as it was written, and tells nothing from None", async () => {
    const task = await running();
    const xcom = `/xcoms/${task.dagId}/${encodeURIComponent(task.runId)}/${task.taskId}`;
    const as = task.id;
    const value = '{"f": 1.0, "big": 12345678901234567890, "e": 1e400}';
    expect((await api.call(`POST ${xcom}/a/b`, { as, body: value })).status).toBe(201);
    expect((await api.call(`GET ${xcom}/a%2Fb`, { as })).text).toBe(`{"key":"a/b","value":${value}}`);
    expect((await api.call(`POST ${xcom}/none`, { as })).status).toBe(201);
    expect((await api.call(`GET ${xcom}/none`, { as })).text).toBe('{"key":"none","value":null}');
    expect(detail(await api.call(`GET ${xcom}/nothing`, { as }))).toMatchObject({ reason: "not_found" });
    expect((await api.call(`HEAD ${xcom}/none`, { as })).headers["content-range"]).toBe("map_indexes 1");
    expect((await api.call(`HEAD ${xcom}/none?map_index=0`, { as })).status).toBe(400);
    const long = await api.call(`POST ${xcom}/long?mapped_length=2000`, { as, body: "[]" });
    expect([long.status, detail(long)]).toMatchObject([400, { reason: "unmappable_return_value_length" }]);
    expect((await api.call(`POST ${xcom}/bad`, { as, body: "{" })).status).toBe(422);
  });

  it("is answered in Airflow's words what is not there", async () => {
    const task = await running();
    const as = task.id;
    const words = async (request: string) => {
      const { status, body } = await api.call(request, { as });
      return [status, (body as { detail: { message?: string } }).detail.message ?? detail({ body } as HttpAnswer)];
    };
    expect(await words("GET /variables/none")).toEqual([404, "Variable with key 'none' not found"]);
    expect(await words("GET /connections/none")).toEqual([404, "Connection with ID none not found"]);
    expect(await words("GET /assets/by-uri?uri=none")).toEqual([404, "Asset with URI none not found"]);
    expect(await words("GET /dags/none")).toEqual([404, "The Dag with dag_id: `none` was not found"]);
    expect(await words("POST /variables/none")).toEqual([405, "Method Not Allowed"]);
    expect(await words("GET /nothing/here")).toEqual([404, "Not Found"]);
    const run = `/dag-runs/${task.dagId}/${task.runId}`;
    const made = await api.call(`POST ${run}`, { as, body: {} });
    expect([made.status, detail(made)]).toMatchObject([409, { reason: "already_exists" }]);
    const odd = await api.call(`POST ${run}`, { as, body: { odd: 1 }, headers: { "correlation-id": "c-1" } });
    expect([odd.status, odd.headers["correlation-id"], odd.headers["content-type"]]).toEqual([
      422,
      "c-1",
      "application/json",
    ]);
  });
});
