import { callbackLogPath, type CallbackHost, type CallbackState } from "../domain/callback.ts";
import type { EventBus } from "../domain/events.ts";
import type { RunTrigger } from "../domain/trigger.ts";
import type { SecretBox } from "../kit/fernet.ts";
import { fromJsonText, type JsonText, type JsonValue } from "../kit/json-text.ts";
import type { Instant } from "../kit/instant.ts";
import type { Kit } from "../kit/service.ts";
import { CallbackRunner } from "../scheduler/callback-runner.ts";
import { DeadlineWatch } from "../scheduler/deadline-watch.ts";
import { callbackTold, openCallbackTriggers } from "../store/callback-triggers.ts";
import { auditCallback } from "../store/callbacks.ts";
import type { Database } from "../store/database.ts";
import type { UnresolvedDeadline } from "../store/deadlines.ts";
import { findVariable } from "../store/execution-variable.ts";

export interface Callbacks {
  runner: CallbackRunner;
  deadlines: DeadlineWatch;
  /** Callbacks that are to run as triggers now. */
  triggers(): Promise<RunTrigger[]>;
  /** Takes what a trigger that no task waits for tells; false when it is none of a callback. */
  onEvent(triggerId: number, payload: JsonText): Promise<boolean>;
  onFailure(triggerId: number, reason: string): Promise<boolean>;
}

/** What calls back: the runner of callbacks, the watch over deadlines, and those callbacks that are triggers. */
export function createCallbacks(
  kit: Kit,
  deps: { db: Database; bus: EventBus; host: CallbackHost; secrets: SecretBox; triggersChanged: () => void },
): Callbacks {
  const { db, bus, host, secrets, triggersChanged } = deps;
  const told = async (triggerId: number, state: CallbackState, output: string | null): Promise<boolean> => {
    const id = await callbackTold(db, { triggerId, state, output, now: kit.clock.now() });
    if (id !== null && state === "failed") {
      kit.logger.warn({ callback: id, output }, "a callback failed");
      await auditCallback(db, id, { event: "callback failed", extra: output ?? "" });
    }
    return id !== null;
  };
  return {
    runner: new CallbackRunner(kit, { db, bus, host }),
    deadlines: new DeadlineWatch(kit, {
      db,
      bus,
      triggersChanged,
      reference: (deadline) => evaluateReference(host, deadline, kit.clock.now()),
      variable: async (key) => {
        const found = await findVariable(db, key);
        if (!found) return null;
        return found.is_encrypted ? secrets.decrypt(found.val) : found.val;
      },
    }),
    triggers: async () =>
      (await openCallbackTriggers(db)).map((row) => ({
        id: row.trigger_id,
        classpath: row.classpath,
        codePath: row.path,
        kwargs: row.kwargs,
        taskInstance: null,
        startContext: null,
        watchedAssets: null,
        environment: row.environment,
        version: { archiveDigest: row.archive_digest, dagRelPath: row.dag_rel_path },
        logPath: `triggerer_callbacks/${row.dag_id}/${row.run_id}/${row.id}`,
      })),
    onEvent: async (triggerId, payload) => {
      const { state, body } = fromJsonText<{ state?: unknown; body?: JsonValue }>(payload);
      if (state !== "running" && state !== "success" && state !== "failed") return false;
      return await told(triggerId, state, textOf(body));
    },
    onFailure: (triggerId, reason) => told(triggerId, "failed", reason),
  };
}

async function evaluateReference(host: CallbackHost, deadline: UnresolvedDeadline, now: Instant) {
  const { id, dag_id, run_id, reference } = deadline;
  const callback = {
    id,
    type: "dag_processor" as const,
    dagId: dag_id,
    runId: run_id,
    data: `{"kind": "reference", "reference": ${reference}, "dag_id": ${JSON.stringify(dag_id)}, "run_id": ${JSON.stringify(run_id)}}` as JsonText,
    attempt: 1,
    environment: deadline.environment,
    archiveDigest: deadline.archive_digest,
    dagRelPath: deadline.dag_rel_path,
  };
  return await host.runCallback({ ...callback, logPath: callbackLogPath(callback, now.slice(0, 10)) });
}

function textOf(body: JsonValue | undefined): string | null {
  if (body === undefined || body === null) return null;
  return typeof body === "string" ? body : JSON.stringify(body);
}
