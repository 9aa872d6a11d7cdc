import { isMap, isScalar, LineCounter, parseDocument, type Node } from "yaml";
import type { ProjectOverlay } from "../../domain/parse-result.ts";
import { PRO_KEYS, PROJECT_SCHEMA, REFUSED_KEYS, type ProjectSettings } from "../../domain/project-schema.ts";
import { BadCronError, Cron } from "../../domain/timetable/cron.ts";
import { timeZone } from "../../domain/timetable/time-zone.ts";
import { keyName, offsetOf, ValueReader, WrongValue, type Rule } from "./project-values.ts";

export const PROJECT_FILE = "leoflow.yaml";

/** What a project's leoflow.yaml says. */
export interface ProjectFile {
  settings: ProjectSettings;
  /** pip requirements, as written; connectors come as their providers. */
  dependencies: string[];
  /** The DAG file below the project's folder. */
  dagSource: string;
  /** What Python changes of the DAG in dagSource; null: nothing. */
  overlay: ProjectOverlay | null;
  /** Keys that have no effect in Lite. */
  unused: string[];
}

export type ProjectFileOutcome = { kind: "read"; project: ProjectFile } | { kind: "broken"; message: string };

/** Reads leoflow.yaml. Messages name line and column: `proj/leoflow.yaml:3:1: unknown key "dependancies"`. */
export function parseProjectFile(text: string, relPath: string): ProjectFileOutcome {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const placeOf = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${line}:${col}`;
  };
  const [syntaxError] = document.errors;
  if (syntaxError) return broken(relPath, placeOf(syntaxError.pos[0]), syntaxError.message);
  const root = document.contents;
  const isEmpty = root === null || (isScalar(root) && root.value === null);
  try {
    const reader = new ValueReader(document, REFUSED_KEYS);
    const settings = (isEmpty ? {} : reader.read(root, PROJECT_SCHEMA as Rule, "")) as ProjectSettings;
    const find = (path: readonly (string | number)[]) => document.getIn(path, true) as Node | undefined;
    checkSchedule(settings, find);
    const keyPlace = (path: readonly string[]) => {
      const parent = path.length > 1 ? find(path.slice(0, -1)) : root;
      const pair = isMap(parent) && parent.items.find(({ key }) => keyName(key) === path.at(-1));
      return pair ? placeOf(offsetOf(pair.key as Node)) : "1:1";
    };
    const connectors = (settings.connectors ?? []).map(providerOf);
    return {
      kind: "read",
      project: {
        settings,
        dependencies: [...(settings.dependencies ?? []), ...connectors],
        dagSource: settings.dag_source ?? "dag.py",
        overlay: overlayOf(settings, relPath, keyPlace),
        unused: [...unusedKeys(settings)],
      },
    };
  } catch (error) {
    if (error instanceof WrongValue) return broken(relPath, placeOf(error.offset), error.message);
    throw error;
  }
}

function broken(relPath: string, place: string, message: string): ProjectFileOutcome {
  return { kind: "broken", message: `${relPath}:${place}: ${message}` };
}

function providerOf(connector: string): string {
  return `apache-airflow-providers-${connector.toLowerCase().replaceAll(/[._]/g, "-")}`;
}

const NO_CRON = new Set(["@once", "@continuous"]);

function checkSchedule(
  { schedule, schedule_timezone: zone }: ProjectSettings,
  find: (path: readonly string[]) => Node | undefined,
): void {
  const offset = (key: string) => offsetOf(find([key]) as Node);
  if (typeof schedule === "string" && !NO_CRON.has(schedule)) {
    try {
      new Cron(schedule);
    } catch (error) {
      if (!(error instanceof BadCronError)) throw error;
      throw new WrongValue(offset("schedule"), `invalid schedule ${JSON.stringify(schedule)}: ${error.message}`);
    }
  }
  if (zone === undefined) return;
  try {
    timeZone(zone);
  } catch {
    throw new WrongValue(offset("schedule_timezone"), `there is no time zone ${JSON.stringify(zone)}`);
  }
  if (schedule === null || (schedule !== undefined && NO_CRON.has(schedule))) {
    throw new WrongValue(offset("schedule_timezone"), "schedule_timezone needs a cron expression as schedule");
  }
}

/** What Python applies, and where each part of it stands, for what only Python can find wrong. */
function overlayOf(
  settings: ProjectSettings,
  relPath: string,
  placeOf: (path: readonly string[]) => string,
): ProjectOverlay | null {
  const { dag_id: dagId, description, owner, tags, schedule, schedule_timezone: zone, defaults, tasks } = settings;
  const { max_active_runs: runs, max_active_tasks: active } = settings;
  const dag = {
    description,
    owner,
    tags,
    schedule,
    schedule_timezone: zone,
    max_active_runs: runs,
    max_active_tasks: active,
  };
  const given = Object.fromEntries(Object.entries(dag).filter(([, value]) => value !== undefined));
  const attempts = attemptsOf(defaults ?? {});
  const changed = Object.entries(tasks ?? {}).map(([id, task]) => [
    id,
    { ...attemptsOf(task), ...(task.env && { env: task.env }) },
  ]);
  const overlay = { dag: given, defaults: attempts, tasks: Object.fromEntries(changed) as ProjectOverlay["tasks"] };
  if (dagId === undefined && Object.values(overlay).every((part) => Object.keys(part).length === 0)) return null;
  const places: Record<string, string> = {};
  for (const key of ["dag_id", "schedule_timezone"]) if (key in settings) places[key] = placeOf([key]);
  for (const id of Object.keys(overlay.tasks)) places[`tasks.${id}`] = placeOf(["tasks", id]);
  return { file: relPath, dag_id: dagId ?? null, places, ...overlay };
}

function attemptsOf(from: ProjectOverlay["defaults"]): ProjectOverlay["defaults"] {
  const { retries, retry_delay_seconds, execution_timeout_seconds } = from;
  const all = { retries, retry_delay_seconds, execution_timeout_seconds };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

function* unusedKeys(settings: Record<string, unknown>, path = ""): Generator<string> {
  for (const [key, value] of Object.entries(settings)) {
    const full = path ? `${path}.${key}` : key;
    if (PRO_KEYS.has(key)) yield full;
    else if (key === "defaults" || key === "tasks" || path === "tasks")
      yield* unusedKeys(value as typeof settings, full);
  }
}
