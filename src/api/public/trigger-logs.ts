import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { endOf, lineEndBefore, linesOf, withLog, type Stretch } from "./log-file.ts";

// While a task is deferred its trigger writes a log of its own beside the try's, `attempt=1.log.trigger.<job>.log`. As in Airflow,
// both are shown as one, in the order of time.

/** How far the log of each trigger was read, by file name. */
export type TriggerPositions = Readonly<Record<string, number>>;

export interface FileStretch {
  path: string;
  stretch: Stretch;
}

export interface TriggerLogPlan {
  /** Every such log there is. */
  paths: string[];
  /** What the answer holds of them. */
  stretches: FileStretch[];
  positions: TriggerPositions;
  more: boolean;
}

/** What to show of the logs of a try's triggers, at most so many bytes of each. */
export async function planTriggerLogs(
  tryLog: string,
  from: { positions: TriggerPositions; growing: boolean; most: number },
): Promise<TriggerLogPlan> {
  const plan = { paths: [] as string[], stretches: [] as FileStretch[], positions: { ...from.positions }, more: false };
  for (const name of await triggerLogsBeside(tryLog)) {
    const path = join(dirname(tryLog), name);
    plan.paths.push(path);
    await withLog(path, async (handle) => {
      const end = await endOf(handle, from.growing);
      const start = Math.min(from.positions[name] ?? 0, end);
      const to = end - start <= from.most ? end : await lineEndBefore(handle, start + from.most, start);
      // A line that is longer than a page is shown cut.
      const shown = to > start ? to : end;
      if (shown > start) plan.stretches.push({ path, stretch: { from: start, to: shown } });
      plan.positions = { ...plan.positions, [name]: shown };
      plan.more ||= shown < end;
    });
  }
  return plan;
}

async function triggerLogsBeside(tryLog: string): Promise<string[]> {
  const prefix = `${basename(tryLog)}.trigger.`;
  try {
    return (await readdir(dirname(tryLog))).filter((name) => name.startsWith(prefix)).sort();
  } catch {
    return [];
  }
}

interface LineStream {
  lines: AsyncGenerator<string>;
  line: string;
  at: string;
}

/** The lines of several logs in the order of time. A line without a time stays behind the one before it. */
export async function* mergedLines(files: readonly FileStretch[]): AsyncGenerator<string> {
  const [only, another] = files;
  if (only && !another) {
    yield* linesOf(only.path, only.stretch);
    return;
  }
  const streams: LineStream[] = [];
  const opened: AsyncGenerator<string>[] = [];
  try {
    for (const { path, stretch } of files) {
      const lines = linesOf(path, stretch);
      opened.push(lines);
      const stream = { lines, line: "", at: "" };
      if (await advance(stream)) streams.push(stream);
    }
    while (streams.length > 0) {
      let first = 0;
      for (let i = 1; i < streams.length; i++) if (streams[i]!.at < streams[first]!.at) first = i;
      const stream = streams[first]!;
      yield stream.line;
      if (!(await advance(stream))) streams.splice(first, 1);
    }
  } finally {
    // Who reads may go away before the end.
    await Promise.all(opened.map((lines) => lines.return(undefined)));
  }
}

async function advance(stream: LineStream): Promise<boolean> {
  const next = await stream.lines.next();
  if (next.done) return false;
  stream.line = next.value;
  stream.at = /^\{"timestamp":"([^"]+)"/.exec(next.value)?.[1] ?? stream.at;
  return true;
}
