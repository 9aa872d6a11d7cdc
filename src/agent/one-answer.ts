import type { Reply, ToSupervisor } from "../domain/task-execution.ts";
import type { ChildExit } from "./forked-child.ts";
import { serveRequests, whenClosed } from "./frames.ts";
import type { ZygoteControl } from "./zygote-control.ts";

const CONNECTIONS = ["requests", "result", "stdout", "stderr"] as const;
const KEPT_OUTPUT_BYTES = 4000;

export interface OneAnswer<T> {
  /** null when it ended before it had answered. */
  value: T | null;
  timedOut: boolean;
  /** null while it may still be alive: it has answered. */
  exit: ChildExit | null;
  /** The end of what it printed. */
  output: string;
}

/**
 * Runs user code in a child of its own that answers once, on a connection, and may ask for Variables and the like meanwhile. It
 * is killed when it has answered or at its deadline. Resolves for whatever it does.
 */
export async function oneAnswer<T>(
  control: ZygoteControl,
  command: { op: string } & Record<string, unknown>,
  options: { timeoutMs: number; handle: (message: ToSupervisor) => Promise<Reply> },
): Promise<OneAnswer<T>> {
  const child = control.fork(command, CONNECTIONS);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill("SIGKILL");
  }, options.timeoutMs);
  let output: Buffer = Buffer.alloc(0);
  const result: Buffer[] = [];
  let value: T | null = null;
  try {
    await child.connected;
    serveRequests(child.socket("requests"), options.handle, () => undefined);
    child.socket("result").on("data", (chunk: Buffer) => result.push(chunk));
    const closed = whenClosed(child.socket("result"));
    for (const kind of ["stdout", "stderr"]) {
      child.socket(kind).on("data", (chunk: Buffer) => {
        output = Buffer.concat([output, chunk]).subarray(-KEPT_OUTPUT_BYTES);
      });
    }
    for (const kind of CONNECTIONS) child.socket(kind).resume();
    await closed;
    value = jsonObject<T>(result);
    if (value === null) await child.exited;
  } catch {
    // It ended before it connected; why is in its exit.
    await child.exited;
  } finally {
    clearTimeout(timer);
    child.kill("SIGKILL");
    child.destroySockets();
  }
  return { value, timedOut, exit: child.exit, output: output.toString("utf8").trimEnd() };
}

/** null when it is not whole. */
function jsonObject<T>(chunks: readonly Buffer[]): T | null {
  const text = Buffer.concat(chunks).toString("utf8");
  if (!text.endsWith("}")) return null;
  try {
    return JSON.parse(text) as T;
  } catch {
    return null;
  }
}
