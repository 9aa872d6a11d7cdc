import type { NamedRun, NamedTaskInstance, Reason, Why } from "../../src/api/leoflow/why-contract.ts";
import { ask } from "../frame/api.ts";
import { element } from "../frame/elements.ts";
import { followTheme } from "../frame/theme.ts";
import "./why.css";

const REFRESH_MS = 2_000;

const title = element("h1", {}, "Why isn't it running?");
const place = element("p", { className: "muted place" });
const list = element("ol", {});
const files = element("p", { className: "muted staging", hidden: true });
const problem = element("p", { className: "error", hidden: true });

const asked = new URLSearchParams(location.search);
/** Airflow's UI leaves what it does not know as `{MAP_INDEX}`. */
const parameter = (name: string): string | null => {
  const value = asked.get(name);
  return value === null || /^\{\w+\}$/.test(value) ? null : value;
};
const path = ["dag_id", "run_id", "task_id"].map(parameter).filter((id) => id !== null);
const mapIndex = parameter("map_index");

let shown = "";

async function refresh(): Promise<void> {
  try {
    const query = mapIndex === null || path.length < 3 ? "" : `?map_index=${encodeURIComponent(mapIndex)}`;
    const why = await ask<Why>(`/api/leoflow/why/${path.map(encodeURIComponent).join("/")}${query}`);
    problem.hidden = true;
    show(why);
  } catch (error) {
    problem.textContent = error instanceof Error ? error.message : String(error);
    problem.hidden = false;
  }
}

function show({ reasons, state, staging, dag_id, run_id, task_id, map_index }: Why): void {
  const items = reasons.map(itemOf);
  // What has not changed stays as it is, with what is selected in it.
  const now = items.map((item) => item.outerHTML).join("") + String(state) + String(staging);
  if (now === shown) return;
  shown = now;
  const index = map_index === undefined || map_index < 0 ? [] : [`[${map_index}]`];
  const name = [dag_id, run_id, task_id].filter((id) => id !== undefined).join(" · ");
  place.textContent = [name, ...index].join("") + (state === undefined ? "" : ` · ${state ?? "not started"}`);
  list.replaceChildren(...items);
  files.hidden = staging === undefined;
  files.textContent = `Its tasks share the files in ${staging ?? ""}`;
}

function itemOf(reason: Reason): HTMLLIElement {
  const { code, message, since, until, dag_runs: runs = [], task_instances: tasks = [], details } = reason;
  const facts = element("div", { className: "muted facts" });
  if (since !== undefined) facts.append(element("span", {}, `since ${local(since)} (${fromNow(since)})`));
  if (until !== undefined) facts.append(element("span", {}, `until ${local(until)} (${fromNow(until)})`));
  facts.append(...runs.map((run) => link(runPath(run), run.run_id, run.state)));
  facts.append(...tasks.map((task) => link(taskPath(task), taskName(task), task.state)));
  const item = element("li", { className: "reason" }, element("p", {}, message));
  item.dataset["code"] = code;
  if (facts.childElementCount > 0) item.append(facts);
  if (details !== undefined) item.append(element("pre", {}, details));
  return item;
}

const local = (at: string): string => new Date(at).toLocaleString();

const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
] as const;
const relative = new Intl.RelativeTimeFormat();

/** "in 5 hours", "2 minutes ago". */
function fromNow(at: string): string {
  const seconds = (Date.parse(at) - Date.now()) / 1000;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  return relative.format(Math.trunc(seconds / size), unit);
}

const runPath = ({ dag_id, run_id }: Pick<NamedRun, "dag_id" | "run_id">): string =>
  `/dags/${encodeURIComponent(dag_id)}/runs/${encodeURIComponent(run_id)}`;
const taskPath = (task: NamedTaskInstance): string =>
  `${runPath(task)}/tasks/${encodeURIComponent(task.task_id)}${task.map_index < 0 ? "" : `/mapped/${task.map_index}`}`;
const taskName = ({ task_id, map_index }: NamedTaskInstance): string =>
  map_index < 0 ? task_id : `${task_id}[${map_index}]`;

/** The frame around us may not be left from inside: the page around follows the link. */
function link(href: string, name: string, state: string | null | undefined): HTMLElement {
  const anchor = element("a", { href }, name);
  anchor.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || window.parent === window) return;
    event.preventDefault();
    const outer = window.parent.document.createElement("a");
    outer.href = href;
    outer.click();
  });
  return element("span", {}, anchor, state === undefined ? "" : ` ${state ?? "not started"}`);
}

/** While it is looked at, and at once when it is looked at again. */
async function keepFresh(): Promise<void> {
  for (;;) {
    if (document.visibilityState === "visible") await refresh();
    await new Promise((resolve) => setTimeout(resolve, REFRESH_MS));
  }
}

followTheme();
document.body.append(title, place, problem, list, files);
document.addEventListener("visibilitychange", () => void (document.visibilityState === "visible" && refresh()));
void keepFresh();
