import { fromJsonText, type JsonText } from "../kit/json-text.ts";
import type { DagRunType } from "./states.ts";

/** Whether a DAG with these `allowed_run_types` may have runs of this type; null allows all of them. */
export function allowsRunType(allowed: JsonText | null, type: DagRunType): boolean {
  const types = allowed === null ? null : fromJsonText<DagRunType[] | null>(allowed);
  return types === null || types.includes(type);
}
