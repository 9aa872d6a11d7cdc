import {
  addConnection,
  addPool,
  addVariable,
  clearTask,
  dagPath,
  logIn,
  logOut,
  markTask,
  pauseDag,
  runPath,
  shown,
  taskPath,
  text,
  trigger,
  type Check,
  type Subject,
} from "./actions.ts";
import { assetEvents } from "./assets.ts";
import { backfill } from "./backfill.ts";
import { editor } from "./editor.ts";
import { answerAction, appearance, importError, importVariables, noteRun } from "./forms.ts";
import { dagsList, manageConnections, managePools, manageVariables, manageXcoms } from "./lists.ts";
import { deadlines, manageRun, steps } from "./steps.ts";
import { manageUsers } from "./users.ts";
import { narrow, viewer } from "./viewer.ts";
import { calendar, ganttView, graphView, logView, shell } from "./views.ts";
import { why } from "./why.ts";

type Words = string | RegExp;

/** Waits for everything that a page of such a DAG is filled with. */
const look =
  (way: "go" | "open") =>
  (
    name: string,
    path: string | ((subject: Subject) => string),
    words: readonly Words[] | ((subject: Subject) => readonly Words[]),
  ): Check => ({
    name,
    async run(visit, subject) {
      await visit[way](typeof path === "string" ? path : path(subject));
      for (const word of typeof words === "function" ? words(subject) : words) await shown(text(visit.page, word));
      await visit.settle();
      await visit.screenshot(name.replaceAll(/\W+/g, "-"));
    },
  });
/** As links lead to it. */
const pageShows = look("go");
/** As its address does. */
const pageLoads = look("open");

const dagTab = (tab: string) => (subject: Subject) => `${dagPath(subject)}/${tab}`;
const runTab = (tab: string) => (subject: Subject) => `${runPath(subject)}/${tab}`;
const taskTab = (tab: string) => (subject: Subject) => `${taskPath(subject)}/${tab}`;
const theSource = (subject: Subject) => [subject.sourceLine];

/** Every page a user of this release works with, in one visit. The first check signs in, the last one out. */
export const CHECKS: readonly Check[] = [
  logIn,
  pageShows("first home", "/", [
    "Failed Dags",
    "MetaDatabase",
    "Triggerer",
    "Dag Processor",
    "Manage Pools",
    "History",
  ]),
  pageShows("dags", "/dags", ({ dagId }) => [dagId, "1 of 2 assets updated", "Latest Run", "browser"]),
  dagsList,
  pageShows("dag", dagPath, [
    "Failed Run",
    "Failed Task",
    /^Last \d Dag Runs$/,
    "Created Asset Events",
    "tour_numbers",
    "Recent Failed Task Logs",
    "report.bad",
  ]),
  graphView,
  pageShows("dag runs", dagTab("runs"), ["Manual", "Triggering User", "Failed", /^\d Dag Runs$/]),
  pageShows("dag tasks", dagTab("tasks"), ["8 Tasks", "Trigger Rule", "@task.branch", "BashOperator"]),
  calendar,
  pageShows("dag audit log", dagTab("events"), ["trigger_dag_run", "running", "leo"]),
  pageShows("dag code", dagTab("code"), theSource),
  pageShows("dag details", dagTab("details"), [
    "Max Active Runs",
    "Default Args",
    "Last Parse Duration",
    "File Location",
  ]),
  pageLoads("task of a dag", (subject) => `${dagPath(subject)}/tasks/${subject.taskId}`, [
    "Trigger Rule",
    /^Last \d Task Instances$/,
  ]),
  pageShows(
    "group of a dag",
    (subject) => `${dagPath(subject)}/tasks/group/${subject.groupId}`,
    ({ groupId }) => [groupId],
  ),
  pageShows("run", runPath, ["10 Task Instances", "Triggering User", "Skipped"]),
  ganttView,
  pageShows("run asset events", runTab("asset_events"), ["Asset Event"]),
  pageShows("run audit log", runTab("events"), ["Event"]),
  pageShows("run code", runTab("code"), theSource),
  pageShows("run details", runTab("details"), ({ runId }) => [runId, "Expected Duration", "Queued At", "Bundle Name"]),
  logView,
  pageShows("rendered templates", taskTab("rendered_templates"), ["op_args"]),
  pageShows("xcom", taskTab("xcom"), ["return_value"]),
  manageXcoms,
  pageShows("task state", taskTab("task-state-store"), ({ taskId }) => [taskId]),
  pageShows("task asset events", taskTab("asset_events"), ["Created Asset Event", "tour_numbers"]),
  pageShows("task audit log", taskTab("events"), ({ taskId }) => [taskId]),
  pageShows("task code", taskTab("code"), theSource),
  pageShows("task details", taskTab("details"), ["Operator", "default_pool", "Priority Weight", "Hostname", "PID"]),
  pageShows("mapped tasks", (subject) => `${runPath(subject)}/tasks/${subject.mappedTaskId}/mapped`, [
    "Map Index",
    "3 Task Instances",
    "Total Success",
  ]),
  pageLoads("one mapped task", (subject) => `${runPath(subject)}/tasks/${subject.mappedTaskId}/mapped/0`, [
    "Pre Execute",
    "Returned value was: 0",
  ]),
  pageLoads("group of a run", (subject) => `${runPath(subject)}/tasks/group/${subject.groupId}`, [
    "2 Task Instances",
    "Total Skipped",
  ]),
  trigger,
  backfill,
  clearTask,
  markTask,
  why,
  pauseDag,
  steps,
  deadlines,
  pageShows("all runs", "/dag_runs", ({ dagId }) => [dagId, "tour_steps", "Backfill"]),
  pageShows("all task instances", "/task_instances", ({ taskId }) => [taskId, "step_1"]),
  pageShows("all xcoms", "/xcoms", ["return_value"]),
  pageShows("audit log", "/events", ["trigger_dag_run"]),
  pageShows("jobs", "/jobs", ["SchedulerJob", "TriggererJob", "DagProcessorJob"]),
  pageShows("assets", "/assets", ["tour_numbers", "1 Dag", "1 Task"]),
  assetEvents,
  pageLoads("dag of assets", "/dags/tour_follows/runs", ["Asset Triggered"]),
  manageRun,
  addVariable,
  importVariables,
  manageVariables,
  addConnection,
  manageConnections,
  addPool,
  managePools,
  manageUsers,
  noteRun,
  answerAction,
  importError,
  shell,
  appearance,
  narrow,
  pageShows("plugins", "/plugins", ["leoflow"]),
  pageShows("providers", "/providers", ["apache-airflow-providers-standard", "apache-airflow-providers-smtp"]),
  pageShows("config", "/configs", ["core", "executor"]),
  editor,
  viewer,
  logOut,
];
