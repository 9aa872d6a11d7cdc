import { Alarm } from "../kit/alarm.ts";
import { addMicros, type Instant } from "../kit/instant.ts";
import type { Kit, Service } from "../kit/service.ts";
import type { EventBus } from "../domain/events.ts";
import { defaultParams, hasDefaults, responseEvent, timeoutEvent, withEvent } from "../domain/hitl-event.ts";
import type { Database } from "../store/database.ts";
import { endInputWaits, waitingInputs, type EndedInput } from "../store/hitl-details.ts";

const RETRY_MICROS = 5_000_000;

/**
 * Lets tasks go on that nobody answered in time (`check_awaiting_input_timeouts`): with the defaults, or with an error that the
 * operator raises. Also those that were answered between asking and waiting: nothing else would wake them.
 */
export class InputTimeouts implements Service {
  readonly #kit: Kit;
  readonly #deps: { db: Database; bus: EventBus };
  readonly #alarm: Alarm<string>;
  readonly #unsubscribe: (() => void)[] = [];

  constructor(kit: Kit, deps: { db: Database; bus: EventBus }) {
    this.#kit = kit;
    this.#deps = deps;
    this.#alarm = new Alarm(kit.clock, (ids) => void this.#end(ids));
  }

  async start(): Promise<void> {
    this.#unsubscribe.push(
      this.#deps.bus.on("task-instance", ({ id, state, wakeAt }) => {
        if (state !== "awaiting_input") return this.#alarm.set(id, null);
        if (wakeAt !== null) this.#alarm.set(id, wakeAt as Instant);
        void this.#end([id]);
      }),
    );
    await this.runOnce();
  }

  async stop(): Promise<void> {
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe();
    this.#alarm.clear();
  }

  /** The backstop: finds what an event missed. */
  async runOnce(): Promise<void> {
    const waiting = await waitingInputs(this.#deps.db);
    for (const { id, trigger_timeout } of waiting) this.#alarm.set(id, trigger_timeout);
    await this.#end(waiting.flatMap(({ id, answered }) => (answered ? id : [])));
    this.#alarm.check();
  }

  async #end(ids: readonly string[]): Promise<void> {
    const { db, bus } = this.#deps;
    const now = this.#kit.clock.now();
    try {
      const runs = await endInputWaits(db, { ids, now, goOn: (input) => goOn(input, now) });
      for (const dagRunId of runs) bus.publish({ kind: "dag-run", dagRunId });
    } catch (error) {
      this.#kit.logger.error(
        { err: error },
        "tasks that wait for an answer could not be timed out; they are tried again",
      );
      for (const id of ids) this.#alarm.set(id, addMicros(now, RETRY_MICROS));
    }
  }
}

type GoingOn = ReturnType<Parameters<typeof endInputWaits>[1]["goOn"]>;

function goOn({ next_kwargs, detail }: EndedInput, now: Instant): GoingOn {
  if (detail && detail.responded_at !== null) {
    const event = responseEvent({
      chosenOptions: detail.chosen_options ?? ("[]" as typeof detail.options),
      paramsInput: detail.params_input,
      respondedAt: detail.responded_at,
      respondedBy: detail.responded_by,
      timedOut: false,
    });
    return { nextKwargs: withEvent(next_kwargs, event), answer: null };
  }
  if (detail && hasDefaults(detail.defaults)) {
    const answer = { chosenOptions: detail.defaults, paramsInput: defaultParams(detail.params) };
    const event = responseEvent({ ...answer, respondedAt: now, respondedBy: null, timedOut: true });
    return { nextKwargs: withEvent(next_kwargs, event), answer };
  }
  return { nextKwargs: withEvent(next_kwargs, timeoutEvent()), answer: null };
}
