import type { ImportError } from "./server.ts";

export interface Problem {
  /** The exception alone. */
  message: string;
  stackTrace: string;
  /** From 1; null when no line of this file is in the trace. */
  line: number | null;
  /** The DAG file that could not be imported: this one, or one that imports it. */
  dagFile: string;
}

const FRAME = /^\s*File "([^"\n]+)", line (\d+)/gm;

/** What of these errors concerns a file: its own, and those whose trace passes through it. */
export function problemsOf(file: { path: string; location: string }, errors: readonly ImportError[]): Problem[] {
  return errors.flatMap(({ filename, stack_trace: stackTrace }) => {
    // The last frame is where it happened.
    const frame = [...stackTrace.matchAll(FRAME)].findLast(([, path]) => path === file.location);
    if (!frame && filename !== file.path) return [];
    const message =
      stackTrace
        .trimEnd()
        .split("\n")
        .findLast((text) => /^\S/.test(text)) ?? "It cannot be imported.";
    return [{ message, stackTrace, line: frame ? Number(frame[2]) : null, dagFile: filename }];
  });
}
