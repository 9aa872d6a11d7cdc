import type { Kit, Service } from "../kit/service.ts";

export interface SlowTickStep {
  name: string;
  everyMs: number;
  run(): Promise<void> | void;
}

/** Runs backstop work now and then, one step at a time; a step that fails is logged and comes again. */
export class SlowTick implements Service {
  readonly #kit: Kit;
  readonly #steps: readonly SlowTickStep[];
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #running = new Map<string, Promise<void>>();

  constructor(kit: Kit, steps: readonly SlowTickStep[]) {
    this.#kit = kit;
    this.#steps = steps;
  }

  async start(): Promise<void> {
    for (const step of this.#steps) {
      this.#timers.push(setInterval(() => this.#runStep(step), step.everyMs).unref());
    }
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    await Promise.allSettled(this.#running.values());
  }

  #runStep(step: SlowTickStep): void {
    if (this.#running.has(step.name)) return;
    const run = Promise.resolve()
      .then(() => step.run())
      .catch((error: unknown) => this.#kit.logger.error({ err: error, step: step.name }, "a periodic step failed"))
      .finally(() => this.#running.delete(step.name));
    this.#running.set(step.name, run);
  }
}
