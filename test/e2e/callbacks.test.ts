import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createLiteHome,
  logOf,
  processesOf,
  runDag,
  triggerDag,
  until,
  waitForDag,
  waitForRun,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";
import { startSmtpServer, type SmtpServer } from "../support/smtp.ts";
import { COMPARED, notesFile, notesOf, outcomeOf, type CallbackOutcome } from "./callbacks/outcome.ts";

const folder = join(import.meta.dirname, "callbacks");
const recorded = JSON.parse(readFileSync(join(folder, "outcomes.json"), "utf8")) as Record<string, CallbackOutcome>;
const FILES = ["callbacks.py", "callback_functions.py", "only_here.py", "../deferral/deferral_triggers.py"];

/**
 * Airflow calls nothing for a process that dies when there are no tries left: its supervisor fails the task, and its scheduler
 * does not look again. Whoever asks to be told of failures is told of these too.
 */
const MORE: Partial<Record<string, string[]>> = {
  cb_lost: ["die[-1]#1", "dies_twice[-1]#2"].map((task) => `failure task=${task} reason=None exception=None`),
};

let home: LiteHome;
let lite: Lite;
let notes: string;
let smtp: SmtpServer;
const environment = (): Record<string, string> => ({
  CALLBACK_NOTES: notes,
  AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT: "10",
  AIRFLOW__EMAIL__FROM_EMAIL: "leoflow@example.com",
});
beforeAll(async () => {
  smtp = await startSmtpServer();
  home = await createLiteHome();
  notes = join(dirname(home.home), "notes");
  mkdirSync(notes);
  for (const file of FILES) cpSync(join(folder, file), join(home.workspace, file.split("/").at(-1) as string));
  lite = await home.start({ env: environment() });
  for (const dag of [...COMPARED, "cb_mail"]) await waitForDag(lite.client, dag);
});
afterAll(async () => {
  await home.remove();
  await smtp.close();
});

const begin = (dag: string) => triggerDag(lite.client, dag, { notes: notesFile(notes, dag) });
const notesAre = (dag: string, wanted: string[]) =>
  until(`${dag} notes ${wanted.join(", ")}`, () => notesOf(notes, dag).join() === wanted.join());
const audit = async (dag: string, event: string): Promise<string[]> => {
  const path = `/api/v2/eventLogs?dag_id=${dag}&event=${encodeURIComponent(event)}`;
  const { event_logs } = (await lite.client.call("GET", path)) as { event_logs: { extra: string }[] };
  return event_logs.map(({ extra }) => extra);
};
/** All that the log files below this folder say. */
const logBelow = (path: string): string =>
  readdirSync(join(home.home, "logs", path), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"))
    .join("");

/** All are begun at once, and looked at one after the other. */
const runs = new Map<string, string>();

describe("what is called is what Airflow calls", () => {
  beforeAll(async () => {
    for (const dag of [...COMPARED, "cb_never_ends", "cb_tasks_never_end"]) runs.set(dag, await begin(dag));
  });

  it.each(COMPARED)("%s", async (dag) => {
    const runId = runs.get(dag) ?? "";
    await waitForRun(lite.client, dag, runId);
    const theirs = recorded[dag] && { ...recorded[dag], notes: [...recorded[dag].notes, ...(MORE[dag] ?? [])].sort() };
    await until(`${dag} has called all`, async () => {
      const { notes: said, deadlines } = await outcomeOf(lite.client, notes, dag, runId);
      return said.length >= (theirs?.notes.length ?? 0) && deadlines.join() === theirs?.deadlines.join();
    }).catch(() => undefined);
    expect(await outcomeOf(lite.client, notes, dag, runId)).toEqual(theirs);
  });

  it("keeps what callbacks say in logs, and what went wrong in the audit log", async () => {
    await until("the log of the file says it", () => logBelow("dag_processor").includes("a callback printed this"));
    expect(logBelow("dag_processor")).toContain('"exc_type":"ValueError","exc_value":"a callback raised this"');
    await until("audited", async () => (await audit("cb_dag_list", "callback failed")).length === 1);
    expect(await audit("cb_dag_list", "callback failed")).toEqual([expect.stringContaining("a callback raised this")]);
    await until("audited", async () => (await audit("cb_deadlines", "callback failed")).length === 1);
    expect(await audit("cb_deadlines", "callback failed")).toEqual([
      expect.stringContaining("an async callback raised this"),
    ]);
    expect(logBelow("executor_callbacks/cb_deadlines")).toContain("Callback executed successfully");
    expect(logBelow("triggerer_callbacks/cb_deadlines")).toContain("an async callback raised this");
  });

  it("shows deadlines of runs and what a DAG promises", async () => {
    const { deadline_alerts } = (await lite.client.call("GET", "/ui/dags/cb_deadlines/deadlineAlerts")) as {
      deadline_alerts: { name: string; reference_type: string; interval: number }[];
    };
    expect(deadline_alerts).toHaveLength(7);
    expect(deadline_alerts.find(({ name }) => name === "not missed")).toMatchObject({
      reference_type: "DagRunQueuedAtDeadline",
      interval: 3600,
    });
    const grid = await lite.client.call("GET", "/ui/grid/runs/cb_deadlines");
    expect(grid).toMatchObject([{ has_missed_deadline: true }]);
    const missed = (await lite.client.call(
      "GET",
      "/ui/dags/~/dagRuns/~/deadlines?missed=true&order_by=-alert_name",
    )) as {
      deadlines: { alert_name: string; missed: boolean }[];
    };
    expect(missed.deadlines.map(({ alert_name }) => alert_name)).toEqual(["sync", "raises", "long ago", "async"]);
  });
});

describe("a deadline", () => {
  it("an interval of a Variable is read when the run is made", async () => {
    await lite.client.call("POST", "/api/v2/variables", { key: "cb_seconds", value: "0" });
    const run = await begin("cb_variable_interval");
    await until("it was missed", () => notesOf(notes, "cb_variable_interval").join().includes("name=by variable"));
    await waitForRun(lite.client, "cb_variable_interval", run);
    await lite.client.call("DELETE", "/api/v2/variables/cb_seconds");
    const { runId } = await runDag(lite.client, "cb_variable_interval", {});
    const path = `/ui/dags/cb_variable_interval/dagRuns/${encodeURIComponent(runId)}/deadlines`;
    expect(await lite.client.call("GET", path)).toEqual({ deadlines: [], total_entries: 0 });
  });
});

describe("e-mail", () => {
  it("is written for failures and retries, also of a task that lost its process", async () => {
    await lite.client.call("POST", "/api/v2/connections", {
      connection_id: "smtp_default",
      conn_type: "smtp",
      host: "127.0.0.1",
      port: smtp.port,
      extra: JSON.stringify({ disable_ssl: true, disable_tls: true }),
    });
    const run = await runDag(lite.client, "cb_mail");
    await until("all e-mails are there", () => smtp.mails.length >= 4);
    const mails = smtp.mails.map(({ from, to, text }) => {
      const subject = /^Subject: (.*)$/m.exec(text)?.[1] ?? "";
      return [from, to.join(), /dies|fails|quiet|tells of cb_mail/.exec(subject)?.[0]];
    });
    const ofAirflow = ["leoflow@example.com", "team@example.com,lead@example.com"];
    expect(mails.sort((x, y) => (x.join() < y.join() ? -1 : 1))).toEqual([
      ["dag@example.com", "all@example.com", "tells of cb_mail"],
      [...ofAirflow, "dies"],
      [...ofAirflow, "fails"],
      [...ofAirflow, "fails"],
    ]);
    expect(run.taskInstances.map(({ task_id, state }) => `${task_id} ${state}`).sort()).toEqual([
      "dies failed",
      "fails failed",
      "quiet failed",
      "tells success",
    ]);
  });
});

describe("callbacks at their worst", () => {
  it("one that never ends is ended, and nobody waits for it", async () => {
    const run = runs.get("cb_never_ends") ?? "";
    expect((await waitForRun(lite.client, "cb_never_ends", run)).state).toBe("success");
    await until("it sleeps", () => notesOf(notes, "cb_never_ends").length === 1);
    const pid = /pid=(\d+)/.exec(notesOf(notes, "cb_never_ends")[0] ?? "")?.[1];
    await until("it was ended", () => !existsSync(`/proc/${pid}`));
    await until("and audited", async () => (await audit("cb_never_ends", "callback timed out")).length === 1);
    expect(await audit("cb_never_ends", "callback timed out")).toEqual([expect.stringContaining("longer than 10 s")]);
  });

  it("those of tasks that never end are ended, and the tasks stay what they were", async () => {
    const dag = "cb_tasks_never_end";
    const run = await waitForRun(lite.client, dag, runs.get(dag) ?? "");
    expect(run.taskInstances.map(({ task_id, state }) => `${task_id} ${state}`).sort()).toEqual([
      "fails failed",
      "ok success",
    ]);
    await until("both were called", () => notesOf(notes, dag).length === 2);
    for (const note of notesOf(notes, dag)) {
      const pid = /pid=(\d+)/.exec(note)?.[1];
      await until("the process has ended", () => !existsSync(`/proc/${pid}`));
    }
    expect(await logOf(lite.client, dag, run.runId, "ok")).toContain("overtime reached");
  });

  it("Leoflow itself may be killed: the next start calls it again", async () => {
    const run = await begin("cb_waits");
    await waitForRun(lite.client, "cb_waits", run);
    await notesAre("cb_waits", ["begun"]);
    lite.process.kill("SIGKILL");
    await until("Python and PostgreSQL have ended", () => processesOf(home.home).length === 0, 20);
    writeFileSync(`${notesFile(notes, "cb_waits")}.go`, "");
    lite = await home.start({ env: environment() });
    await notesAre("cb_waits", ["begun", "begun", "done"]);
  });
});
