import { describeExit } from "./forked-child.ts";
import { whenClosed } from "./frames.ts";
import type { ZygoteControl } from "./zygote-control.ts";

/** A small question to the installed Airflow: `kind` is one of those in leoflow_runtime/requests.py. */
export interface PythonRequest {
  kind: string;
  [field: string]: unknown;
}

/** Has a child of the base zygote answer; rejects with Python's error, or when it takes too long. */
export async function askPython(control: ZygoteControl, request: PythonRequest, timeoutMs: number): Promise<unknown> {
  const child = control.fork({ op: "request", request }, ["result"]);
  const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
  try {
    await child.connected;
    const chunks: Buffer[] = [];
    const socket = child.socket("result");
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.resume();
    await whenClosed(socket);
    const text = Buffer.concat(chunks).toString("utf8");
    if (text === "") throw new Error(`no answer from Python: ${describeExit(await child.exited)}`);
    const answer = JSON.parse(text) as { result: unknown } | { error: string; traceback: string };
    if ("error" in answer) throw new Error(`${request.kind}: ${answer.error}`, { cause: answer.traceback });
    return answer.result;
  } finally {
    clearTimeout(timer);
    child.kill("SIGKILL");
    child.destroySockets();
  }
}
