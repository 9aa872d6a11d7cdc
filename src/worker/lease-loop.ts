import { LEASE_WAIT_MS, type LeaseAnswer, type LeaseRequest } from "../domain/agent-protocol.ts";
import type { Kit } from "../kit/service.ts";
import { isPassing, Pauses, reasonOf, type ServerClient } from "./server-client.ts";
import type { Session } from "./session.ts";

export interface LeaseLoopDeps {
  client: ServerClient;
  /** How many more tasks can be taken now. */
  free(): number;
  take(answer: LeaseAnswer): void;
  /** The token is none any more. */
  onRefused(): void;
}

const ANSWER_MS = LEASE_WAIT_MS + 10_000;

/** Asks the server for work, for as long as the session lasts. */
export class LeaseLoop {
  readonly #kit: Kit;
  readonly #deps: LeaseLoopDeps;
  #wake: (() => void) | null = null;

  constructor(kit: Kit, deps: LeaseLoopDeps) {
    this.#kit = kit;
    this.#deps = deps;
  }

  /** `free()` has another answer than before. */
  changed(): void {
    this.#wake?.();
  }

  async run(session: Session): Promise<void> {
    const over = new Promise<void>((resolve) => session.over.addEventListener("abort", () => resolve()));
    let pauses = new Pauses();
    while (!session.over.aborted) {
      const free = this.#deps.free();
      const woken = new Promise<void>((resolve) => {
        // One that asks for some is answered as soon as there is one; it need not be asked anew for more.
        this.#wake = () => void (this.#deps.free() > 0 !== free > 0 && resolve());
      });
      const outcome = await Promise.race([this.#ask(session, { free }), woken, over]);
      if (outcome === "failed") await pauses.next(session.over);
      else pauses = new Pauses();
    }
    this.#wake = null;
  }

  /** Never called off: an answer may hold tasks. */
  async #ask(session: Session, body: LeaseRequest): Promise<"answered" | "failed"> {
    const sentAt = performance.now();
    try {
      const path = `${session.path}/lease`;
      const answer = await this.#deps.client.once({ method: "POST", path, body, timeoutMs: ANSWER_MS }, "own");
      if (answer.status === 401) {
        this.#deps.onRefused();
        return "failed";
      }
      if (answer.status === 410 || answer.status === 404) {
        session.end("the server has given this agent up");
        return "answered";
      }
      if (answer.status !== 200 || isPassing(answer.status)) throw new Error(`HTTP ${answer.status}`);
      session.lived(sentAt);
      this.#deps.take(JSON.parse(answer.body.toString("utf8")) as LeaseAnswer);
      return "answered";
    } catch (error) {
      this.#kit.logger.debug({ reason: reasonOf(error) }, "no answer to a request for work");
      return "failed";
    }
  }
}
