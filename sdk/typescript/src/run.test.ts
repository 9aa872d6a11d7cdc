import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { PassThrough } from "node:stream";
import { afterEach, expect, it } from "vitest";
import { serveRequests } from "../../../src/agent/frames.ts";
import { exportsFor } from "../../../src/domain/coordinator.ts";
import { encodeReply } from "../../../src/domain/task-frame.ts";
import { RawJson, type Reply, type ToSupervisor } from "../../../src/domain/task-execution.ts";
import type { JsonText } from "../../../src/kit/json-text.ts";
import type { StartupDetails, TaskFacts } from "./context.ts";
import { FailTask, SkipTask, task } from "./index.ts";
import { LogChannel } from "./log.ts";
import { exportNames, runTask } from "./run.ts";
import { Supervisor } from "./supervisor.ts";

const json = (text: string) => new RawJson(text as JsonText);
const cleanUp: (() => void)[] = [];
afterEach(() => cleanUp.splice(0).forEach((end) => end()));

const DETAILS = {
  type: "StartupDetails",
  ti: { id: "0190", task_id: "load", dag_id: "sales", run_id: "r1", try_number: 2, map_index: -1 },
  ti_context: {
    should_retry: false,
    xcom_keys_to_clear: ["return_value"],
    dag_run: {
      run_type: "manual",
      logical_date: "2026-01-02T03:04:05.678901Z",
      run_after: "2026-01-02T03:04:06Z",
      conf: { region: "eu" },
    },
  },
};

interface Trial {
  exports: Record<string, unknown>;
  details?: object;
  facts?: TaskFacts;
  answer?: (message: ToSupervisor) => Reply | undefined;
}

/** Runs the task `load` against Leoflow's own framing over TCP; tells what it asked and logged. */
async function run({ exports, details = DETAILS, facts = {}, answer = () => undefined }: Trial) {
  const asked: ToSupervisor[] = [];
  const server = createServer((socket: Socket) => {
    socket.write(encodeReply(0, { body: structuredClone(details) as Record<string, unknown> }));
    serveRequests(
      socket,
      (message) => {
        asked.push(message);
        return Promise.resolve(answer(message) ?? { body: null });
      },
      () => undefined,
    );
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  cleanUp.push(() => {
    socket.destroy();
    server.close();
  });
  const supervisor = new Supervisor(socket);
  const lines = new PassThrough();
  const module = { name: "sales.tasks.ts", load: () => Promise.resolve(exports), facts: () => facts };
  await runTask(
    (await supervisor.first) as StartupDetails,
    module,
    supervisor,
    new LogChannel(lines),
    new AbortController().signal,
  );
  const log = String(lines.read() ?? "")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { asked, log, last: asked.at(-1) };
}

it("clears old XComs, runs the task with its context, pushes the result, succeeds", async () => {
  const load = task(async ({ xcom, variables, connections, log, params, logicalDate, ...rest }) => {
    log.info("loading", { rows: 3 });
    await xcom.push("half", 0.5);
    const [rows, name, none, extra] = await Promise.all([
      xcom.pull<number[]>("extract", { mapIndex: 1 }),
      variables.get("name"),
      variables.getJson("none", { by: "default" }),
      connections.get("db").then(({ extra, password }) => ({ extra, password })),
    ]);
    return { rows, name, none, extra, params, logicalDate, tryNumber: rest.tryNumber, mapIndex: rest.mapIndex };
  });
  const { asked, log, last } = await run({
    exports: { load },
    facts: { params: { region: "us", size: 2 }, outlets: [{ name: "table", uri: "db://table" }] },
    answer: (message) => {
      if (message.type === "GetXCom")
        return { body: { type: "XComResult", key: "return_value", value: json("[1, 2.0]") } };
      if (message.type === "GetConnection") {
        return {
          body: { type: "ConnectionResult", conn_id: "db", conn_type: "postgres", password: "p", extra: '{"a": 1}' },
        };
      }
      if (message["key"] === "none")
        return { body: { type: "ErrorResponse", error: "VARIABLE_NOT_FOUND", detail: {} } };
      return message.type === "GetVariable"
        ? { body: { type: "VariableResult", key: "name", value: "ada" } }
        : undefined;
    },
  });
  expect(asked.map(({ type }) => type)).toEqual([
    "DeleteXCom",
    "SetXCom",
    "GetXCom",
    "GetVariable",
    "GetVariable",
    "GetConnection",
    "SetXCom",
    "SucceedTask",
  ]);
  expect(asked[2]).toMatchObject({ task_id: "extract", dag_id: "sales", run_id: "r1", map_index: 1 });
  const pushed = asked[6] as ToSupervisor & { value: RawJson };
  expect(pushed).toMatchObject({ key: "return_value", task_id: "load", map_index: -1, mapped_length: 8 });
  expect(JSON.parse(pushed.value.text)).toEqual({
    rows: [1, 2],
    name: "ada",
    none: { by: "default" },
    extra: { extra: { a: 1 }, password: "p" },
    params: { region: "eu", size: 2 },
    logicalDate: "2026-01-02T03:04:05.678Z",
    tryNumber: 2,
    mapIndex: -1,
  });
  expect(last).toMatchObject({ state: "success", task_outlets: [{ name: "table", uri: "db://table", type: "Asset" }] });
  expect(log).toMatchObject([{ level: "info", event: "loading", logger: "task", rows: 3 }]);
});

it("says how a failure ends the try: retried, failed for good, skipped", async () => {
  const retried = { ...DETAILS, ti_context: { ...DETAILS.ti_context, should_retry: true } };
  const throwing = (error: unknown) => ({ load: task(() => Promise.reject(error as Error)) });
  const failed = await run({ exports: throwing(new RangeError("no rows", { cause: new Error("file is empty") })) });
  expect(failed.last).toMatchObject({ type: "TaskState", state: "failed" });
  expect(failed.log).toMatchObject([
    {
      level: "error",
      event: "Task failed with exception",
      exception: [
        { exc_type: "RangeError", exc_value: "no rows", is_cause: false },
        { exc_type: "Error", exc_value: "file is empty", is_cause: true },
      ],
    },
  ]);
  const [{ frames = [] } = {}] = failed.log[0]?.["exception"] as { frames?: { filename: string }[] }[];
  expect(frames.at(-1)?.filename).toContain("run.test.ts");
  expect((await run({ exports: throwing("a word"), details: retried })).last).toMatchObject({ type: "RetryTask" });
  expect((await run({ exports: throwing(new FailTask("never")), details: retried })).last).toMatchObject({
    state: "failed",
  });
  const skipped = await run({ exports: throwing(new SkipTask("holiday")), details: retried });
  expect(skipped.last).toMatchObject({ type: "TaskState", state: "skipped" });
  expect(skipped.log).toMatchObject([{ event: "Skipping task.", reason: "holiday" }]);
});

it("names the file and the export when there is no function for the task", async () => {
  const missing = await run({ exports: { extract: () => 1, other: 2 } });
  expect(missing.last).toMatchObject({ state: "failed" });
  expect(JSON.stringify(missing.log)).toContain(
    'sales.tasks.ts has no export \\"load\\" for the task load: add `export const load = task(...)` (it exports extract, other)',
  );
  expect(JSON.stringify((await run({ exports: { load: 1 } })).log)).toContain(
    'the export \\"load\\" of sales.tasks.ts is no function',
  );
});

it("finds the function of a task in a group, and of one that is called again", () => {
  expect(exportNames("load")).toEqual(["load"]);
  expect(exportNames("outer.inner.load__12")).toEqual(["outer.inner.load__12", "load__12", "load"]);
  // What the check of a DAG file goes by.
  expect(exportsFor("outer.inner.load__12")).toEqual(exportNames("outer.inner.load__12"));
});

it("pushes what is too long to be mapped over, and fails where the server refuses the value", async () => {
  const refusal = (status: number): Reply => ({
    error: { type: "ErrorResponse", error: "API_SERVER_ERROR", detail: { status_code: status, message: "no" } },
  });
  const exports = { load: task(() => [1, 2, 3]) };
  const tooLong = (message: ToSupervisor) => ("mapped_length" in message ? refusal(400) : undefined);
  const long = await run({ exports, answer: tooLong });
  expect(long.asked.map(({ type }) => type).slice(1)).toEqual(["SetXCom", "SetXCom", "SucceedTask"]);
  const refused = await run({ exports, answer: ({ type }) => (type === "SetXCom" ? refusal(500) : undefined) });
  expect(refused.last).toMatchObject({ state: "failed" });
  expect(JSON.stringify(refused.log)).toContain("SetXCom: API_SERVER_ERROR (no)");
});

it("ends a task that runs longer than its execution_timeout", async () => {
  const exports = {
    load: task(
      ({ signal }) => new Promise((_, end) => signal.addEventListener("abort", () => end(new Error("aborted")))),
    ),
  };
  const { last, log } = await run({ exports, facts: { timeoutSeconds: 0.02 } });
  expect(last).toMatchObject({ state: "failed" });
  expect(JSON.stringify(log)).toContain("execution_timeout: the task ran for 0.02 s");
});
