/** Whose last answers are kept at most: one for each task that runs. */
const KEPT_TRIES = 10_000;

interface Answered {
  sessionId: string;
  number: number;
  answer: Promise<Buffer>;
}

/**
 * The last answer to each try's process, for when it was lost on its way. A process asks one thing at a time, so an older
 * number is never repeated. Reads are not kept: they may be large, and do no harm twice.
 */
export class AnsweredMessages {
  readonly #last = new Map<string, Answered>();

  /** `work` is done once for each number of a session's try. */
  once(
    asked: { id: string; sessionId: string; number: number; isRead: boolean },
    work: () => Promise<Buffer>,
  ): Promise<Buffer> {
    const { id, sessionId, number, isRead } = asked;
    const last = this.#last.get(id);
    if (last?.sessionId === sessionId && last.number === number) return last.answer;
    this.#last.delete(id);
    const answer = work();
    if (isRead) return answer;
    this.#last.set(id, { sessionId, number, answer });
    // What failed may be tried again.
    answer.catch(() => this.forget(id));
    if (this.#last.size > KEPT_TRIES) this.forget(this.#last.keys().next().value ?? "");
    return answer;
  }

  forget(id: string): void {
    this.#last.delete(id);
  }
}
