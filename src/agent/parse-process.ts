import type { ParseRequest, ParseResult } from "../domain/parse-result.ts";
import type { Reply, ToSupervisor } from "../domain/task-execution.ts";
import { describeExit, type ForkedChild } from "./forked-child.ts";
import { serveRequests, whenClosed } from "./frames.ts";
import type { ZygoteControl } from "./zygote-control.ts";

const CONNECTIONS = ["requests", "result", "stdout", "stderr"] as const;
const KEPT_OUTPUT_BYTES = 4000;

/** Parses one file in a child of its own, within limits. Resolves for whatever the file does. */
export async function parseInChild(
  control: ZygoteControl,
  request: ParseRequest,
  handle: (message: ToSupervisor) => Promise<Reply>,
): Promise<ParseResult> {
  const started = performance.now();
  const { workspace, path, timeoutSeconds, memoryMb } = request;
  const child = control.fork({ op: "parse", workspace, path, memoryMb }, CONNECTIONS);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill("SIGKILL");
  }, timeoutSeconds * 1000);
  let output: Buffer = Buffer.alloc(0);
  const result: Buffer[] = [];
  try {
    await child.connected;
    serveRequests(child.socket("requests"), handle, () => undefined);
    child.socket("result").on("data", (chunk: Buffer) => result.push(chunk));
    const closed = whenClosed(child.socket("result"));
    for (const kind of ["stdout", "stderr"]) {
      child.socket(kind).on("data", (chunk: Buffer) => {
        output = Buffer.concat([output, chunk]).subarray(-KEPT_OUTPUT_BYTES);
      });
    }
    for (const kind of CONNECTIONS) child.socket(kind).resume();
    await closed;
    const parsed = readResult(result);
    if (parsed) return parsed;
    await child.exited;
  } catch {
    // It ended before it connected; why is in its exit.
    await child.exited;
  } finally {
    clearTimeout(timer);
    child.kill("SIGKILL");
    child.destroySockets();
  }
  const tail = output.toString("utf8").trimEnd();
  return {
    dags: [],
    importErrors: [],
    warnings: [],
    files: [],
    templates: [],
    reads: [],
    durationSeconds: (performance.now() - started) / 1000,
    failure: timedOut
      ? { kind: "timeout", message: withOutput(`Parsing took longer than ${timeoutSeconds} s and was ended.`, tail) }
      : describeCrash(child, memoryMb, tail),
  };
}

/** null when the child ended before it had written all of it. */
function readResult(chunks: readonly Buffer[]): ParseResult | null {
  const text = Buffer.concat(chunks).toString("utf8");
  if (!text.endsWith("}")) return null;
  try {
    return JSON.parse(text) as ParseResult;
  } catch {
    return null;
  }
}

function describeCrash(child: ForkedChild, memoryMb: number, tail: string): NonNullable<ParseResult["failure"]> {
  const exit = child.exit ?? { code: null, signal: null };
  if (tail.includes("MemoryError") || exit.signal === "SIGKILL") {
    const message = `Parsing ran out of memory (the limit is ${memoryMb} MB; ${describeExit(exit)}).`;
    return { kind: "memory", message: withOutput(message, tail) };
  }
  return {
    kind: "crash",
    message: withOutput(`The parsing process ended without a result: ${describeExit(exit)}.`, tail),
  };
}

function withOutput(message: string, tail: string): string {
  return tail ? `${message}\nLast output:\n${tail}` : message;
}
