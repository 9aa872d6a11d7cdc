import { ExactObject, exactStringify, parseExact, type ExactJson } from "../../kit/exact-json.ts";
import { toJsonText, type JsonText, type JsonValue } from "../../kit/json-text.ts";
import type { DagParam } from "../../domain/dag-graph.ts";
import { paramProblem } from "../../domain/param-problem.ts";
import { badRequest } from "../errors.ts";

/** Throws Airflow's 400 when a run's conf does not fit the DAG's params. */
export function checkParams(params: readonly DagParam[], conf: Readonly<Record<string, JsonValue>> | null): void {
  const problem = paramProblem(params, conf);
  if (problem !== null) throw badRequest(problem);
}

/** A field of a body as it was written, its numbers too; `given` is what was read of it. */
export function fieldText(bodyText: string, name: string, given: unknown): JsonText {
  const exact = exactField(bodyText, name);
  return exact === undefined ? toJsonText(given) : (exactStringify(exact) as JsonText);
}

/** A field of a body, read exactly. */
export function exactField(bodyText: string, name: string): ExactJson | undefined {
  const body = parseExact(bodyText);
  return body instanceof ExactObject ? body.entries.get(name) : undefined;
}
