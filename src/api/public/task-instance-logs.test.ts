import { appendFileSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync, closeSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeRunningTask, makeTaskInstanceHistory } from "../../../test/support/factories.ts";
import { taskLogPath } from "../../domain/workload.ts";
import type { TaskInstanceState } from "../../domain/states.ts";
import { taskInstanceLogRoutes } from "./task-instance-logs.ts";

let test: TestDatabase;
let api: TestApi;
let logsDir: string;

beforeAll(async () => {
  test = await createTestDatabase();
  logsDir = mkdtempSync(join(tmpdir(), "leoflow-logs-"));
  api = await createTestApi(test.db, [taskInstanceLogRoutes], { logsDir });
});
afterAll(async () => {
  await api.close();
  await test.close();
  rmSync(logsDir, { recursive: true, force: true });
});

async function loggedTask(state: TaskInstanceState | null, columns: { map_index?: number; try_number?: number } = {}) {
  const { dag, run, ti } = await makeRunningTask(test.db, { state, ...columns });
  const place = { dagId: dag.dag_id, runId: run.run_id, taskId: "a", mapIndex: columns.map_index ?? -1 };
  const file = (tryNumber = 1) => {
    const path = join(logsDir, taskLogPath(place, tryNumber));
    mkdirSync(dirname(path), { recursive: true });
    return path;
  };
  const base = `/api/v2/dags/${dag.dag_id}/dagRuns/${run.run_id}/taskInstances/a`;
  const query = columns.map_index === undefined ? "" : `?map_index=${columns.map_index}`;
  return { run, ti, file, url: (tryNumber = 1) => `${base}/logs/${tryNumber}${query}`, base };
}

const NDJSON = { accept: "application/x-ndjson" };
const line = (event: string) =>
  `${JSON.stringify({ timestamp: "2026-01-01T00:00:00.000001Z", level: "info", event })}\n`;
const ndjson = (body: string) =>
  body
    .trimEnd()
    .split("\n")
    .map((text) => JSON.parse(text) as { event: string });

interface Page {
  content: { event: string; [field: string]: unknown }[];
  continuation_token: string | null;
}

describe("task logs", () => {
  it("gives the sources, then every line as it was written", async () => {
    const { file, url } = await loggedTask("success");
    const path = file();
    writeFileSync(path, `${line("one")}{"event":"two","n":1.0}\nTraceback: not JSON\n{"no":"event"}\nlast`);
    const response = await api.get(url());
    expect(response.headers["content-type"]).toContain("application/json");
    expect(response.body).toContain('{"event":"two","n":1.0}');
    const { content, continuation_token } = response.json<Page>();
    expect(continuation_token).toBeNull();
    expect(content).toEqual([
      { event: "::group::Log message source details" },
      { event: path },
      { event: "::endgroup::" },
      { timestamp: "2026-01-01T00:00:00.000001Z", level: "info", event: "one" },
      { event: "two", n: 1 },
      { event: "Traceback: not JSON" },
      { event: '{"no":"event"}' },
      { event: "last" },
    ]);
  });

  it("streams JSON lines, without a token at the end of the log", async () => {
    const { file, url } = await loggedTask("failed");
    writeFileSync(file(), line("one") + line("two"));
    const response = await api.request("GET", url(), undefined, NDJSON);
    expect(response.headers["content-type"]).toContain("application/x-ndjson");
    expect(response.headers["airflow-continuation-token"]).toBeUndefined();
    expect(
      ndjson(response.body)
        .map(({ event }) => event)
        .slice(2),
    ).toEqual(["::endgroup::", "one", "two"]);
  });

  it("follows a running try from where the token stands", async () => {
    const { file, url } = await loggedTask("running");
    writeFileSync(file(), `${line("one")}{"event":"half`);
    const first = (await api.get(url())).json<Page>();
    expect(first.content.map(({ event }) => event).slice(3)).toEqual(["one"]);
    appendFileSync(file(), ` a line"}\n${line("three")}`);
    const second = (await api.get(`${url()}?token=${first.continuation_token}`)).json<Page>();
    expect(second.content.map(({ event }) => event)).toEqual(["half a line", "three"]);
    await test.db.updateTable("task_instance").set({ state: "success" }).execute();
    const third = (await api.get(`${url()}?token=${second.continuation_token}`)).json<Page>();
    expect(third).toEqual({ content: [], continuation_token: null });
  });

  it("has a token for a running try that wrote nothing yet", async () => {
    const { url, file } = await loggedTask("running");
    const response = await api.request("GET", url(), undefined, NDJSON);
    expect(ndjson(response.body)).toHaveLength(2);
    const token = String(response.headers["airflow-continuation-token"]);
    writeFileSync(file(), line("now"));
    const next = await api.request("GET", `${url()}?token=${token}`, undefined, NDJSON);
    expect(ndjson(next.body).map(({ event }) => event)).toEqual(["now"]);
  });

  it("reads earlier tries and mapped instances", async () => {
    const { file, url, run } = await loggedTask("running", { map_index: 3, try_number: 2 });
    await makeTaskInstanceHistory(test.db, { dag_run_id: run.id, map_index: 3, try_number: 1 });
    writeFileSync(file(1), line("first try"));
    const page = (await api.get(url(1))).json<Page>();
    expect(page.content.at(-1)?.event).toBe("first try");
    expect(page.continuation_token).toBeNull();
  });

  it("says why there is none", async () => {
    const skipped = await loggedTask("skipped", { try_number: 0 });
    const response = await api.request("GET", skipped.url(0), undefined, NDJSON);
    expect(ndjson(response.body).at(-1)?.event).toBe("Task was skipped — no logs available.");
    const lost = await loggedTask("failed");
    expect((await api.get(lost.url())).json<Page>().content.at(-1)?.event).toBe("No logs available for this task.");
  });

  it("refuses what is not there, forged tokens, and other formats", async () => {
    const { url, base } = await loggedTask("success");
    expect((await api.get(url(7))).json()).toEqual({ detail: "TaskInstance not found" });
    const forged = await api.get(`${url()}?token=abc`);
    expect(forged.statusCode).toBe(400);
    expect(forged.json()).toEqual({ detail: "Bad Signature. Please use only the tokens provided by the API." });
    expect((await api.request("GET", url(), undefined, { accept: "text/plain" })).statusCode).toBe(406);
    expect((await api.get(`${base}/externalLogUrl/1`)).statusCode).toBe(400);
  });

  it("keeps to the logs folder", async () => {
    const { run } = await loggedTask("success");
    await test.db.updateTable("dag_run").set({ run_id: "../../../../x" }).where("id", "=", run.id).execute();
    const id = encodeURIComponent("../../../../x");
    expect((await api.get(`/api/v2/dags/${run.dag_id}/dagRuns/${id}/taskInstances/a/logs/1`)).statusCode).toBe(404);
  });

  it("pages a log that is longer than anybody shows", async () => {
    const { file, url } = await loggedTask("success");
    const lines = writeBigLog(file(), 64);

    const page = (await api.get(url())).json<Page>();
    expect(page.content.length).toBeGreaterThan(1000);
    const second = (await api.get(`${url()}?token=${page.continuation_token}`)).json<Page>();
    expect(Number(second.content[0]?.n)).toBe(Number(page.content.at(-1)?.n) + 1);

    const shown = ndjson((await api.request("GET", url(), undefined, NDJSON)).body) as Page["content"][number][];
    expect(shown.some(({ event }) => event.includes("MiB of this log are left out"))).toBe(true);
    expect(shown.at(-1)?.n).toBe(lines - 1);
    expect(JSON.stringify(shown).length).toBeLessThan(10 * 1024 * 1024);
  });

  it("cuts a line no browser could show", async () => {
    const { file, url } = await loggedTask("success");
    writeFileSync(file(), `${JSON.stringify({ event: "x".repeat(3_000_000) })}\n${line("after")}`);
    const { content } = (await api.get(url())).json<Page>();
    expect(content.at(-2)?.event).toMatch(/more bytes in this line\)$/);
    expect(content.at(-1)?.event).toBe("after");
  });
});

function writeBigLog(path: string, megabytes: number): number {
  const fd = openSync(path, "w");
  let lines = 0;
  for (let written = 0; written < megabytes * 1_000_000;) {
    let chunk = "";
    for (let index = 0; index < 5000; index++) {
      chunk += `{"event":"line","n":${lines++},"fill":"${"y".repeat(1000)}"}\n`;
    }
    written += writeSync(fd, chunk);
  }
  closeSync(fd);
  return lines;
}

describe("logs of triggers", () => {
  const at = (seconds: number, event: string) =>
    `${JSON.stringify({ timestamp: `2026-01-01T00:00:0${seconds}.000000Z`, level: "info", event })}\n`;
  const said = (page: Page) => page.content.map(({ event }) => event).filter((event) => !event.startsWith("::"));

  it("stand with the task's in the order of time", async () => {
    const { file, url } = await loggedTask("success");
    writeFileSync(file(), `${at(1, "defers")}no time\n${at(5, "resumes")}`);
    writeFileSync(`${file()}.trigger.3.log`, at(2, "waits"));
    writeFileSync(`${file()}.trigger.4.log`, `${at(3, "waits again")}${at(6, "is done")}`);
    const page = (await api.get(url())).json<Page>();
    expect(said(page)).toEqual([
      file(),
      `${file()}.trigger.3.log`,
      `${file()}.trigger.4.log`,
      "defers",
      "no time",
      "waits",
      "waits again",
      "resumes",
      "is done",
    ]);
    expect(page.continuation_token).toBeNull();
  });

  it("are read on from where the last answer ended", async () => {
    const { file, url } = await loggedTask("deferred");
    writeFileSync(file(), at(1, "defers"));
    writeFileSync(`${file()}.trigger.3.log`, at(2, "waits"));
    const first = (await api.get(url())).json<Page>();
    expect(said(first).slice(2)).toEqual(["defers", "waits"]);
    appendFileSync(`${file()}.trigger.3.log`, at(3, "goes on"));
    const token = encodeURIComponent(first.continuation_token ?? "");
    const second = (await api.get(`${url()}?token=${token}`)).json<Page>();
    expect(said(second)).toEqual(["goes on"]);
  });

  it("are shown of a task that never had a process", async () => {
    const { file, url } = await loggedTask("success");
    writeFileSync(`${file()}.trigger.3.log`, at(2, "waits"));
    expect(said((await api.get(url())).json<Page>())).toEqual([`${file()}.trigger.3.log`, "waits"]);
  });
});
