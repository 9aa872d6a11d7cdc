import { fromJsonText, type JsonText, type JsonValue } from "../../kit/json-text.ts";

type Fields = Record<string, JsonValue>;

const CONNECTION_FIELD = /conn_id$/;

/** Connections and pools that the tasks of a serialized DAG name. */
export function namesOf(serialized: JsonText): { connections: string[]; pools: string[] } {
  const tasks = tasksOf(serialized);
  const connections = tasks.flatMap((task) =>
    Object.entries(task).flatMap(([field, value]) =>
      CONNECTION_FIELD.test(field) && typeof value === "string" && !value.includes("{") ? [value] : [],
    ),
  );
  return { connections, pools: tasks.flatMap(({ pool }) => (typeof pool === "string" ? [pool] : [])) };
}

/** What Leoflow Lite does otherwise than Airflow for this DAG, a line for each. */
export function differencesOf(serialized: JsonText): string[] {
  const tasks = tasksOf(serialized);
  const found: string[] = [];
  const tell = (field: string, isSet: (value: JsonValue) => boolean, what: (value: string) => string) => {
    const byValue = new Map<string, string[]>();
    for (const task of tasks) {
      const value = task[field];
      if (value === undefined || value === null || !isSet(value)) continue;
      const text = typeof value === "string" ? value : "";
      byValue.set(text, [...(byValue.get(text) ?? []), task["task_id"] as string]);
    }
    for (const [value, ids] of byValue) found.push(`${listed(ids)}: ${what(value)}`);
  };
  tell(
    "executor",
    () => true,
    (value) => `executor ${value} has no effect, Leoflow's own runs them`,
  );
  tell(
    "queue",
    (value) => value !== "default",
    (value) => `queue ${value} has no effect on one machine`,
  );
  tell("executor_config", hasContent, () => "executor_config has no effect on one machine");
  tell(
    "run_as_user",
    () => true,
    (value) => `run_as_user ${value} needs sudo without a password, and access to ~/.leoflow`,
  );
  return found;
}

function hasContent(value: JsonValue): boolean {
  const inner = (value as Fields)["__var"] ?? value;
  return typeof inner === "object" && inner !== null && Object.keys(inner).length > 0;
}

function listed(ids: readonly string[]): string {
  const shown = ids.slice(0, 3).join(", ");
  return ids.length > 3 ? `${shown} and ${ids.length - 3} more` : shown;
}

/** Each task's fields; those of a mapped one with what all its instances share. */
function tasksOf(serialized: JsonText): Fields[] {
  const { dag } = fromJsonText<{ dag: { tasks: { __var: Fields }[] } }>(serialized);
  return dag.tasks.map(({ __var: task }) => ({ ...(task["partial_kwargs"] as Fields | undefined), ...task }));
}
