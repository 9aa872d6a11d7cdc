import type { ParseRequest, ParseResult } from "../domain/parse-result.ts";
import type { Reply, ToSupervisor } from "../domain/task-execution.ts";
import { describeExit } from "./forked-child.ts";
import { oneAnswer, type OneAnswer } from "./one-answer.ts";
import type { ZygoteControl } from "./zygote-control.ts";

/** Parses one file in a child of its own, within limits. Resolves for whatever the file does. */
export async function parseInChild(
  control: ZygoteControl,
  request: ParseRequest,
  handle: (message: ToSupervisor) => Promise<Reply>,
): Promise<ParseResult> {
  const started = performance.now();
  const { workspace, path, timeoutSeconds, memoryMb, overlay = null } = request;
  const answer = await oneAnswer<ParseResult>(
    control,
    { op: "parse", workspace, path, memoryMb, overlay },
    { timeoutMs: timeoutSeconds * 1000, handle },
  );
  if (answer.value) return answer.value;
  return {
    dags: [],
    importErrors: [],
    warnings: [],
    files: [],
    templates: [],
    reads: [],
    durationSeconds: (performance.now() - started) / 1000,
    failure: answer.timedOut
      ? {
          kind: "timeout",
          message: withOutput(`Parsing took longer than ${timeoutSeconds} s and was ended.`, answer.output),
        }
      : describeCrash(answer, memoryMb),
  };
}

function describeCrash(
  { exit, output }: OneAnswer<ParseResult>,
  memoryMb: number,
): NonNullable<ParseResult["failure"]> {
  const how = exit ?? { code: null, signal: null };
  if (output.includes("MemoryError") || how.signal === "SIGKILL") {
    const message = `Parsing ran out of memory (the limit is ${memoryMb} MB; ${describeExit(how)}).`;
    return { kind: "memory", message: withOutput(message, output) };
  }
  return {
    kind: "crash",
    message: withOutput(`The parsing process ended without a result: ${describeExit(how)}.`, output),
  };
}

function withOutput(message: string, tail: string): string {
  return tail ? `${message}\nLast output:\n${tail}` : message;
}
