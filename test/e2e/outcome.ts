import type { Client } from "../../bench/client.ts";

/** A task instance of a run, as far as outcomes are compared. */
export interface TaskInstance {
  task_id: string;
  map_index: number;
  state: string | null;
  try_number: number;
  max_tries: number;
}

export function nameOf({ task_id, map_index }: TaskInstance): string {
  return `${task_id}[${map_index}]`;
}

/** "state try/max tries". */
export function stateOf({ state, try_number, max_tries }: TaskInstance): string {
  return `${state} ${try_number}/${max_tries}`;
}

/** The task instances of the run at this path, by name. */
export async function taskInstancesOf(client: Client, path: string): Promise<TaskInstance[]> {
  const { task_instances } = (await client.call("GET", `${path}/taskInstances?limit=100`)) as {
    task_instances: TaskInstance[];
  };
  return task_instances.sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
}

/** What a task instance pushed, by key; values that `leaveOut` names are not asked for. */
export async function xcomsOf(
  client: Client,
  path: string,
  ti: TaskInstance,
  leaveOut: (key: string) => boolean = () => false,
): Promise<Record<string, unknown>> {
  const base = `${path}/taskInstances/${ti.task_id}/xcomEntries`;
  const { xcom_entries } = (await client.call("GET", `${base}?map_index=${ti.map_index}`)) as {
    xcom_entries: { key: string }[];
  };
  const values: Record<string, unknown> = {};
  for (const { key } of xcom_entries.sort((a, b) => (a.key < b.key ? -1 : 1))) {
    if (leaveOut(key)) continue;
    const { value } = (await client.call("GET", `${base}/${key}?map_index=${ti.map_index}`)) as { value: unknown };
    values[key] = value;
  }
  return values;
}
