import { ExactObject, exactStringify, parseExact, type ExactJson } from "../kit/exact-json.ts";
import { instantMicros, type Instant } from "../kit/instant.ts";
import { fromJsonText, toJsonText, type JsonText, type JsonValue } from "../kit/json-text.ts";

/** An answer to what a task asked people. */
export interface HitlResponse {
  chosenOptions: JsonText;
  paramsInput: JsonText;
  respondedAt: Instant;
  /** null: nobody answered in time, and the defaults are taken. */
  respondedBy: JsonText | null;
  timedOut: boolean;
}

/** The event that `HITLOperator.execute_complete` takes (`HITLDetail.as_resume_event_payload`), as the SDK serializes it. */
export function responseEvent(response: HitlResponse): JsonText {
  const tz = toJsonText(["UTC", "pendulum.tz.timezone.Timezone", 1, true]);
  const timestamp = instantMicros(response.respondedAt) / 1_000_000;
  return `{"chosen_options": ${response.chosenOptions}, "params_input": ${response.paramsInput}, "responded_at": {"__classname__": "datetime.datetime", "__version__": 2, "__data__": {"timestamp": ${timestamp}, "tz": {"__classname__": "builtins.tuple", "__version__": 1, "__data__": ${tz}}}}, "responded_by_user": ${response.respondedBy ?? "null"}, "timedout": ${response.timedOut}}` as JsonText;
}

/** The event of a request that nobody answered in time and that has no defaults, in Airflow's words. */
export function timeoutEvent(): JsonText {
  return toJsonText({
    error: "The Human-in-the-loop response timeout has passed without a response.",
    error_type: "timeout",
  });
}

/** What the form's fields hold when nobody fills them in. */
export function defaultParams(params: JsonText): JsonText {
  const parsed = parseExact(params);
  if (!(parsed instanceof ExactObject)) return "{}" as JsonText;
  const values = [...parsed.entries].map(([name, param]): [string, ExactJson] => [
    name,
    param instanceof ExactObject && param.entries.has("value") ? (param.entries.get("value") ?? null) : param,
  ]);
  return exactStringify(new ExactObject(new Map(values))) as JsonText;
}

/** What the task goes on with: what it left when it parked, and the event. */
export function withEvent(kwargs: JsonText | null, event: JsonText): JsonText {
  const before = kwargs === null ? null : parseExact(kwargs);
  const entries = new Map<string, ExactJson>(before instanceof ExactObject ? before.entries : []);
  entries.set("event", parseExact(event));
  return exactStringify(new ExactObject(entries)) as JsonText;
}

/** Whether a task with these defaults needs no answer. */
export function hasDefaults(defaults: JsonText | null): defaults is JsonText {
  return defaults !== null && fromJsonText<JsonValue>(defaults) !== null;
}
