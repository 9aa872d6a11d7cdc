import {
  addConnection,
  addPool,
  addVariable,
  clearTask,
  dagPath,
  ganttView,
  graphView,
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
import { backfill } from "./backfill.ts";
import { editor } from "./editor.ts";
import { answerAction, appearance, fullScreenLog, importError, importVariables, noteRun } from "./forms.ts";
import { manageUsers } from "./users.ts";
import { why } from "./why.ts";

/** Opens a path and waits for something on it. */
const pageShows = (
  name: string,
  path: string | ((subject: Subject) => string),
  words: string | RegExp | ((subject: Subject) => string | RegExp),
): Check => ({
  name,
  async run(visit, subject) {
    await visit.open(typeof path === "string" ? path : path(subject));
    await shown(text(visit.page, typeof words === "function" ? words(subject) : words));
    await visit.settle();
    await visit.screenshot(name.replaceAll(/\W+/g, "-"));
  },
});

const dagTab = (tab: string) => (subject: Subject) => `${dagPath(subject)}/${tab}`;
const runTab = (tab: string) => (subject: Subject) => `${runPath(subject)}/${tab}`;
const taskTab = (tab: string) => (subject: Subject) => `${taskPath(subject)}/${tab}`;
const theDag = (subject: Subject) => subject.dagId;
const theTask = (subject: Subject) => subject.taskId;
const theSource = (subject: Subject) => subject.sourceLine;

/** Every page a user of this release works with, in one visit. The first check signs in, the last one out. */
export const CHECKS: readonly Check[] = [
  logIn,
  pageShows("home", "/", "History"),
  pageShows("dags", "/dags", theDag),
  pageShows("dag", dagPath, "Failed Run"),
  graphView,
  pageShows("dag runs", dagTab("runs"), "Manual"),
  pageShows("dag tasks", dagTab("tasks"), "Trigger Rule"),
  pageShows("dag calendar", dagTab("calendar"), "Hourly"),
  pageShows("dag backfills", dagTab("backfills"), theDag),
  pageShows("dag audit log", dagTab("events"), "trigger_dag_run"),
  pageShows("dag code", dagTab("code"), theSource),
  pageShows("dag details", dagTab("details"), "Max Active Runs"),
  pageShows("task of a dag", (subject) => `${dagPath(subject)}/tasks/${subject.taskId}`, theTask),
  pageShows(
    "group of a dag",
    (subject) => `${dagPath(subject)}/tasks/group/${subject.groupId}`,
    ({ groupId }) => groupId,
  ),
  pageShows("run", runPath, "Task Instances"),
  ganttView,
  pageShows("run asset events", runTab("asset_events"), "Asset Event"),
  pageShows("run audit log", runTab("events"), "Event"),
  pageShows("run code", runTab("code"), theSource),
  pageShows("run details", runTab("details"), ({ runId }) => runId),
  pageShows("logs", taskPath, ({ logLine }) => logLine),
  pageShows("rendered templates", taskTab("rendered_templates"), "op_args"),
  pageShows("xcom", taskTab("xcom"), "return_value"),
  pageShows("task state", taskTab("task-state-store"), theTask),
  pageShows("task asset events", taskTab("asset_events"), "Asset Event"),
  pageShows("task audit log", taskTab("events"), theTask),
  pageShows("task code", taskTab("code"), theSource),
  pageShows("task details", taskTab("details"), "Operator"),
  pageShows("mapped tasks", (subject) => `${runPath(subject)}/tasks/${subject.mappedTaskId}/mapped`, "Map Index"),
  pageShows(
    "one mapped task",
    (subject) => `${runPath(subject)}/tasks/${subject.mappedTaskId}/mapped/0`,
    "Pre Execute",
  ),
  pageShows("group of a run", (subject) => `${runPath(subject)}/tasks/group/${subject.groupId}`, "Task Instances"),
  trigger,
  backfill,
  clearTask,
  markTask,
  why,
  pauseDag,
  pageShows("all runs", "/dag_runs", theDag),
  pageShows("all task instances", "/task_instances", theTask),
  pageShows("all xcoms", "/xcoms", "return_value"),
  pageShows("audit log", "/events", "trigger_dag_run"),
  pageShows("jobs", "/jobs", "SchedulerJob"),
  pageShows("required actions", "/required_actions", "Required Action"),
  pageShows("assets", "/assets", "tour_numbers"),
  pageShows("asset", "/assets/1", "Scheduled Dags"),
  pageShows("dag of assets", "/dags/tour_follows", "1 of 2 assets updated"),
  addVariable,
  importVariables,
  addConnection,
  addPool,
  manageUsers,
  noteRun,
  fullScreenLog,
  answerAction,
  importError,
  appearance,
  pageShows("plugins", "/plugins", "Plugin"),
  pageShows("providers", "/providers", "apache-airflow-providers-standard"),
  pageShows("config", "/configs", "executor"),
  editor,
  logOut,
];
