import { ExactObject, parseExact, type ExactJson } from "../../kit/exact-json.ts";
import type { JsonValue } from "../../kit/json-text.ts";
import type { DagParam } from "../../domain/dag-graph.ts";
import { paramProblem } from "../../domain/param-problem.ts";
import { badRequest } from "../errors.ts";

/** Throws Airflow's 400 when a run's conf does not fit the DAG's params. */
export function checkParams(params: readonly DagParam[], conf: Readonly<Record<string, JsonValue>> | null): void {
  const problem = paramProblem(params, conf);
  if (problem !== null) throw badRequest(problem);
}

/** A request's conf, read exactly: numbers stay as they were written. */
export function exactConf(bodyText: string): ExactJson | undefined {
  return exactField(bodyText, "conf");
}

/** A field of a body, read exactly. */
export function exactField(bodyText: string, name: string): ExactJson | undefined {
  const body = parseExact(bodyText);
  return body instanceof ExactObject ? body.entries.get(name) : undefined;
}
