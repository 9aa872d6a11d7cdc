import { RawJson, type Reply, type ToSupervisor } from "../domain/task-execution.ts";
import { fromJsonText } from "../kit/json-text.ts";
import type { SecretMasker } from "./secret-masker.ts";

/** Takes note of what `MaskSecret` asks to be masked. */
export function maskAsAsked(masker: SecretMasker, message: ToSupervisor): void {
  const value = message["value"];
  masker.add(value instanceof RawJson ? fromJsonText(value.text) : value, message["name"] as string | null);
}

/** What was fetched as a secret is masked from then on, as Airflow's request handlers do. */
export function maskWhatWasFetched(masker: SecretMasker, message: ToSupervisor, reply: Reply): void {
  if ("error" in reply || !reply.body) return;
  const { body } = reply;
  if (body["type"] === "ConnectionResult") {
    masker.add(body["password"]);
    masker.add(body["extra"]);
    if (typeof body["extra"] === "string") {
      try {
        masker.add(withSensitiveNames(JSON.parse(body["extra"])));
      } catch {
        // Not JSON: masked as a whole above.
      }
    }
  } else if (body["type"] === "VariableResult") masker.add(body["value"], String(message["key"]));
}

function withSensitiveNames(value: unknown): unknown {
  // Only values under a sensitive name are secrets; `SecretMasker.add` decides by the keys.
  return typeof value === "object" ? value : null;
}
