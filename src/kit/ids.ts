import { v7 } from "uuid";

/** UUIDv7: sortable by time, as Airflow's task instance and version ids are. */
export function newId(): string {
  return v7();
}
