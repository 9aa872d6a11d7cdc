const NAME = /^[A-Za-z0-9][\w.@-]{0,62}$/;
const LONGEST_QUEUE = 256;

/** Airflow's `[operators] default_queue`. */
export const DEFAULT_QUEUE = "default";

/** What is wrong with the name of a token for agents, in words; null: nothing. */
export function agentTokenNameProblem(name: string): string | null {
  return NAME.test(name) ? null : "use up to 63 letters, digits, and . _ - @, a letter or a digit first";
}

/** What is wrong with the queues of a token; null: nothing. */
export function agentQueuesProblem(queues: readonly string[]): string | null {
  if (queues.length === 0) return "name at least one queue";
  if (queues.some((queue) => queue.trim() !== queue || queue === ""))
    return "a queue has a name, without blanks around it";
  return queues.some((queue) => queue.length > LONGEST_QUEUE)
    ? `a queue's name has up to ${LONGEST_QUEUE} characters`
    : null;
}
