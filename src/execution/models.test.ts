import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { JsonText } from "../kit/json-text.ts";
import { RawJson, type Reply, type ToSupervisor } from "../domain/task-execution.ts";
import { registerAssetChange } from "../store/asset-changes.ts";
import { inTransaction } from "../store/transaction.ts";
import { anAsset, makeAssetDag, port, waitsFor } from "../../test/support/assets.ts";
import { makeRun, makeRunningTask, makeTaskInstance, NOON } from "../../test/support/factories.ts";
import { createTestExecution, raw, WORKER, type TestExecution } from "../../test/support/execution.ts";
import { testPython } from "../../test/support/python.ts";
import { writeJson } from "./json-writer.ts";
import { MESSAGES } from "./task-execution.ts";

// What we answer is read by the SDK's own pydantic models, and what we call a message is one of its messages.
const CHECK = `
import json, sys, typing
from pydantic import TypeAdapter
from airflow.sdk.execution_time import comms
from airflow.sdk.api.datamodels._generated import TIRunContext
asked = json.load(sys.stdin)
requests, answers = TypeAdapter(comms.ToSupervisor), TypeAdapter(comms.ToTask)
def problem(check, value):
    try:
        check(value)
    except Exception as error:
        return str(error)
union = typing.get_args(comms.ToSupervisor)[0]
json.dump({
    "types": sorted(model.model_fields["type"].default for model in typing.get_args(union)),
    "problems": [p for p in (
        [problem(TIRunContext.model_validate, c) for c in asked["contexts"]]
        + [problem(requests.validate_python, m) for m in asked["messages"]]
        + [problem(answers.validate_python, r) for r in asked["replies"]]) if p],
}, sys.stdout)
`;

let t: TestExecution;
// Airflow writes its configuration file when it is imported.
const airflowHome = mkdtempSync(join(tmpdir(), "leoflow-execution-test-"));
beforeAll(async () => {
  t = await createTestExecution({ deferral: "park" });
});
afterAll(async () => {
  rmSync(airflowHome, { recursive: true, force: true });
  await t.database.close();
});

interface Sample {
  message: ToSupervisor;
  reply: Reply;
}

async function runningTask() {
  const conf = '{"x": 1.0}' as JsonText;
  const made = await makeRunningTask(t.database.db, { max_tries: 1 }, { run: { logical_date: NOON, conf, note: "n" } });
  const started = await t.execution.start(made.ti.id, WORKER);
  if (started.kind !== "started") throw new Error("not started");
  return { ...made, context: started.context };
}

/** A task of a run that an asset's event made; one of its outlets is not active. */
async function assetTriggered() {
  const { db } = t.database;
  await makeAssetDag(db, "knows", { dag: waitsFor(anAsset("known", "s3://known", { extra: { n: 1 } })) });
  const other = port(anAsset("known", "s3://other"));
  await makeAssetDag(db, "asset_consumer", { tasks: [{ id: "a", outlets: [other], inlets: [port(anAsset("i"))] }] });
  const source = { dagId: "d", runId: "r", taskId: "t", mapIndex: -1 };
  const change = { extra: '{"x":1.0}' as JsonText, aliases: ["known_alias"], partitionKey: null, partitionDate: null };
  const registered = await inTransaction(db, (trx) =>
    registerAssetChange(
      trx,
      { ...change, asset: { name: "known", uri: "s3://known" }, source },
      { now: NOON, graph: t.x.deps.graph },
    ),
  );
  const run = await makeRun(db, { dag_id: "asset_consumer", run_type: "asset_triggered", run_id: "started" });
  // The models know only runs with a start.
  const waits = await makeRun(db, { dag_id: "asset_consumer", run_id: "waits", state: "queued", start_date: null });
  const consumed = [run, waits].map(({ id }) => ({ dag_run_id: id, event_id: registered?.eventId ?? 0 }));
  await db.insertInto("dagrun_asset_event").values(consumed).execute();
  const ti = await makeTaskInstance(db, { dag_run_id: run.id, state: "queued", try_number: 1 });
  const started = await t.execution.start(ti.id, WORKER);
  if (started.kind !== "started") throw new Error("not started");
  return { ti, context: started.context };
}

/** One message of each type, sent as its own model allows it. */
async function sendAll(): Promise<{ samples: Sample[]; contexts: JsonText[] }> {
  const { ti, run, dag, context } = await runningTask();
  const samples: Sample[] = [];
  const send = async (id: string, type: string, fields: Record<string, unknown> = {}) => {
    const message = { type, ...fields };
    samples.push({ message, reply: await t.execution.handle(id, message) });
  };
  const of = { dag_id: dag.dag_id, run_id: run.run_id };
  const xcom = { ...of, task_id: "a", key: "k" };
  const store = { ti_id: ti.id, key: "k" };
  const { db } = t.database;
  await db.insertInto("connection").values({ conn_id: "c", conn_type: "http", port: 80 }).execute();

  await send(ti.id, "SetRenderedFields", { rendered_fields: raw('{"a":1.0}') });
  await send(ti.id, "SetRenderedMapIndex", { rendered_map_index: "label" });
  await send(ti.id, "SetXCom", { ...xcom, value: raw("[1.0]"), mapped_length: 1 });
  await send(ti.id, "GetXCom", xcom);
  await send(ti.id, "GetXCom", { ...xcom, key: "none", include_prior_dates: true });
  await send(ti.id, "GetXComCount", xcom);
  await send(ti.id, "GetXComSequenceItem", { ...xcom, offset: 0 });
  await send(ti.id, "GetXComSequenceItem", { ...xcom, offset: 9 });
  await send(ti.id, "GetXComSequenceSlice", { ...xcom, start: null, stop: null, step: null });
  await send(ti.id, "DeleteXCom", xcom);
  await send(ti.id, "PutVariable", { key: "v", value: "1", description: null });
  await send(ti.id, "GetVariable", { key: "v" });
  await send(ti.id, "GetVariable", { key: "none" });
  await send(ti.id, "GetVariableKeys");
  await send(ti.id, "DeleteVariable", { key: "v" });
  await send(ti.id, "GetConnection", { conn_id: "c" });
  await send(ti.id, "GetConnection", { conn_id: "none" });
  await send(ti.id, "MaskSecret", { value: raw('"s"') });
  await send(ti.id, "GetDagRun", of);
  await send(ti.id, "GetDagRun", { ...of, run_id: "none" });
  await send(ti.id, "GetDagRunState", of);
  await send(ti.id, "GetDRCount", { dag_id: dag.dag_id });
  await send(ti.id, "GetPreviousDagRun", { dag_id: dag.dag_id, logical_date: "2027-01-01T00:00:00Z" });
  await send(ti.id, "GetPreviousDagRun", { dag_id: dag.dag_id, logical_date: NOON });
  await send(ti.id, "GetPrevSuccessfulDagRun", { ti_id: ti.id });
  await send(ti.id, "GetDag", { dag_id: dag.dag_id });
  await send(ti.id, "TriggerDagRun", { ...of, run_id: "triggered", conf: raw("{}") });
  await send(ti.id, "TriggerDagRun", { ...of, run_id: "triggered" });
  await send(ti.id, "GetTICount", { dag_id: dag.dag_id });
  await send(ti.id, "GetTaskStates", { dag_id: dag.dag_id });
  const ended = { dag_run_id: run.id, task_id: "b", state: "success", start_date: NOON, end_date: NOON } as const;
  await makeTaskInstance(db, { ...ended, duration: 0.5 });
  await send(ti.id, "GetTaskBreadcrumbs", of);
  await send(ti.id, "GetPreviousTI", { dag_id: dag.dag_id, task_id: "b" });
  await send(ti.id, "GetPreviousTI", { dag_id: dag.dag_id, task_id: "none" });
  await send(ti.id, "GetTaskRescheduleStartDate", { ti_id: ti.id });
  await send(ti.id, "SkipDownstreamTasks", { tasks: raw('["x",["y",1]]') });
  await send(ti.id, "SetTaskStateStore", { ...store, value: raw("1.0"), expires_at: NOON });
  await send(ti.id, "GetTaskStateStore", store);
  await send(ti.id, "DeleteTaskStateStore", store);
  await send(ti.id, "GetTaskStateStore", store);
  await send(ti.id, "ClearTaskStateStore", { ti_id: ti.id });
  await send(ti.id, "CreateHITLDetailPayload", {
    ti_id: ti.id,
    options: ["yes", "no"],
    subject: "Go on?",
    defaults: ["no"],
    params: raw('{"p":{"value":1.0}}'),
    assigned_users: [{ id: "1", name: "ann" }],
  });
  await send(ti.id, "UpdateHITLDetail", { ti_id: ti.id, chosen_options: ["yes"] });
  await send(ti.id, "GetHITLDetailResponse", { ti_id: ti.id });
  for (const [key, value] of [
    ["name", "n"],
    ["uri", "s3://u"],
  ] as const) {
    const by = key === "name" ? "ByName" : "ByUri";
    await send(ti.id, `GetAsset${by}`, { [key]: value });
    await send(ti.id, `GetAssetStateStore${by}`, { [key]: value, key: "k" });
    await send(ti.id, `SetAssetStateStore${by}`, { [key]: value, key: "k", value: raw("1") });
    await send(ti.id, `DeleteAssetStateStore${by}`, { [key]: value, key: "k" });
    await send(ti.id, `ClearAssetStateStore${by}`, { [key]: value });
  }
  await send(ti.id, "GetAssetsByAlias", { alias_name: "al" });
  await send(ti.id, "GetAssetEventByAsset", { name: "n", uri: null });
  await send(ti.id, "GetAssetEventByAssetAlias", { alias_name: "al" });
  const known = await assetTriggered();
  for (const ref of [{ name: "known" }, { uri: "s3://known" }]) {
    const by = "name" in ref ? "ByName" : "ByUri";
    await send(known.ti.id, `GetAsset${by}`, ref);
    await send(known.ti.id, `SetAssetStateStore${by}`, { ...ref, key: "k", value: raw('{"n":1.0}') });
    await send(known.ti.id, `GetAssetStateStore${by}`, { ...ref, key: "k" });
  }
  await send(known.ti.id, "GetAssetsByAlias", { alias_name: "known_alias" });
  await send(known.ti.id, "GetAssetEventByAsset", { name: "known", uri: "s3://known", ascending: false, limit: 1 });
  await send(known.ti.id, "GetAssetEventByAssetAlias", { alias_name: "known_alias", after: "2020-01-01T00:00:00Z" });
  await send(known.ti.id, "ValidateInletsAndOutlets", { ti_id: known.ti.id });
  await send(ti.id, "ValidateInletsAndOutlets", { ti_id: ti.id });
  await send(ti.id, "ResendLoggingFD");
  await send(ti.id, "TaskState", { state: "failed", end_date: NOON });
  await send(ti.id, "SucceedTask", { state: "success", end_date: NOON, task_outlets: [], outlet_events: [] });

  const parked = { next_method: "m", next_kwargs: raw('{"n":1.0}') };
  const defer = { state: "deferred", classpath: "a.B", trigger_kwargs: raw("{}"), trigger_timeout: "PT5S", ...parked };
  const deferred = await runningTask();
  await send(deferred.ti.id, "DeferTask", defer);
  await send((await runningTask()).ti.id, "AwaitInputTask", { state: "awaiting_input", timeout: "P1DT0S", ...parked });
  await send((await runningTask()).ti.id, "RetryTask", { state: "up_for_retry", end_date: NOON });
  const again = { state: "up_for_reschedule", end_date: NOON, reschedule_date: NOON };
  await send((await runningTask()).ti.id, "RescheduleTask", again);

  await db.updateTable("task_instance").set({ state: "queued" }).where("id", "=", deferred.ti.id).execute();
  const resumed = await t.execution.start(deferred.ti.id, WORKER);
  if (resumed.kind !== "started") throw new Error("not resumed");
  return { samples, contexts: [context, resumed.context, known.context] };
}

describe("the SDK's models", () => {
  it("know every message we answer, and read every answer", async () => {
    const { samples, contexts } = await sendAll();
    const answers = samples.map(({ reply }) => ("error" in reply ? reply.error : reply.body));
    const input = writeJson({
      contexts: contexts.map((context) => new RawJson(context)),
      messages: samples.map(({ message }) => message),
      replies: answers.filter((answer) => answer !== null),
    });
    const output = execFileSync(testPython(), ["-c", CHECK], {
      input,
      encoding: "utf8",
      env: { PATH: process.env.PATH },
    });
    const { types, problems } = JSON.parse(output) as { types: string[]; problems: string[] };
    expect(problems).toEqual([]);
    expect(Object.keys(MESSAGES).toSorted()).toEqual(types);
    expect(types).toHaveLength(55);
    expect([...new Set(samples.map(({ message }) => message.type))].toSorted()).toEqual(types);
    const asked = (type: string) =>
      samples.filter(({ message }) => message.type === type).map(({ reply }) => ("body" in reply ? reply.body : reply));
    expect(writeJson(asked("ValidateInletsAndOutlets")[0])).toBe(
      '{"type":"InactiveAssetsResult","inactive_assets":[{"name":"known","uri":"s3://other","type":"Asset"}]}',
    );
    expect(writeJson(asked("GetAssetStateStoreByUri").at(-1))).toBe(
      '{"type":"AssetStateStoreResult","value":{"n":1.0}}',
    );
    expect(asked("GetAssetEventByAsset").at(-1)).toMatchObject({
      asset_events: [{ source_task_id: "t", asset: { name: "known" }, created_dagruns: [{ run_id: "started" }] }],
    });
    expect(contexts.at(-1)).toContain('"consumed_asset_events":[{"asset" : {"name" : "known"');
    const failed = samples.filter(({ reply }) => "error" in reply).map(({ message }) => message.type);
    expect([...new Set(failed)]).toEqual([
      "GetDagRun",
      "UpdateHITLDetail",
      "GetHITLDetailResponse",
      "SetAssetStateStoreByName",
      "DeleteAssetStateStoreByName",
      "ClearAssetStateStoreByName",
      "SetAssetStateStoreByUri",
      "DeleteAssetStateStoreByUri",
      "ClearAssetStateStoreByUri",
      "ResendLoggingFD",
    ]);
  });

  it("are not asked about messages nobody knows", async () => {
    for (const type of ["Unknown", "constructor", "__proto__"]) {
      expect(await t.execution.handle("", { type })).toEqual({
        error: {
          type: "ErrorResponse",
          error: "API_SERVER_ERROR",
          detail: { status_code: 400, message: "Unhandled request" },
        },
      });
    }
  });
});
