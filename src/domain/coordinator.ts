import { posix } from "node:path";
import { UserError } from "../kit/user-error.ts";

/** Name of the coordinator for tasks in TypeScript, and the queue that it has of itself. */
export const TYPESCRIPT = "typescript";
const VARIABLE = "AIRFLOW__SDK__QUEUE_TO_COORDINATOR";

/**
 * The queues whose tasks are written in TypeScript: `typescript`, and those that `[sdk] queue_to_coordinator` gives to that
 * coordinator. Throws UserError where the setting is not JSON of queue to coordinator.
 */
export function typescriptQueues(env: Readonly<Record<string, string | undefined>>): ReadonlySet<string> {
  const text = env[VARIABLE] ?? "";
  const mapping = new Map([[TYPESCRIPT, TYPESCRIPT]]);
  if (text.trim() !== "") {
    for (const [queue, coordinator] of Object.entries(mappingOf(text))) mapping.set(queue, coordinator);
  }
  return new Set([...mapping].filter(([, coordinator]) => coordinator === TYPESCRIPT).map(([queue]) => queue));
}

function mappingOf(text: string): Record<string, string> {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    found = null;
  }
  const isMapping =
    typeof found === "object" &&
    found !== null &&
    !Array.isArray(found) &&
    Object.values(found).every((coordinator) => typeof coordinator === "string");
  if (!isMapping) {
    throw new UserError(`${VARIABLE} is not JSON of queue to coordinator: ${text}`, {
      fix: `write it like {"node": "${TYPESCRIPT}"}`,
    });
  }
  return found as Record<string, string>;
}

/** Where the tasks of a DAG file are written: `sales.tasks.ts` beside `sales.py`. */
export function tasksFileOf(dagFile: string): string {
  return `${withoutEnding(dagFile)}.tasks.ts`;
}

/** What is made of them for Node, in the version's files; what is known of the DAGs is beside it, ending in `.json`. */
export function tasksModuleOf(dagFile: string): string {
  return posix.join(TASK_MODULES, `${withoutEnding(dagFile)}.tasks.mjs`);
}

const TASK_MODULES = ".leoflow-tasks";

function withoutEnding(dagFile: string): string {
  return dagFile.replace(/\.py$/, "");
}

/** Names under which a task's function may be exported: its id, or the function's for a task in a group or a repeated one. */
export function exportsFor(taskId: string): string[] {
  const inGroup = taskId.slice(taskId.lastIndexOf(".") + 1);
  return [...new Set([taskId, inGroup, inGroup.replace(/__\d+$/, "")])];
}
