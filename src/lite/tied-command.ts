import { spawn } from "node:child_process";
import { childEnvironment } from "../kit/config.ts";
import type { CommandResult } from "./command.ts";

const KEPT_OUTPUT = 64 * 1024;

export interface TiedOptions {
  env?: Record<string, string | undefined>;
  cwd?: string;
  onLine?: (line: string) => void;
  signal?: AbortSignal | undefined;
}

/**
 * Runs a program, and all that it starts, which ends when we end, however we end: a pg_upgrade or a uv that goes on by itself
 * would write into what the next start makes. A shell reads a pipe that only we hold, as PostgreSQL's guardian does.
 */
export function runTied(command: readonly string[], options: TiedOptions): Promise<CommandResult> {
  options.signal?.throwIfAborted();
  const [program, ...args] = command;
  return new Promise((done, fail) => {
    const child = spawn(program as string, args, {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
      cwd: options.cwd,
      env: childEnvironment(options.env),
    });
    const group = child.pid;
    // dash's kill takes no `--` before the group.
    const guardian =
      group === undefined
        ? undefined
        : spawn("/bin/sh", ["-c", `trap '' INT TERM HUP; read -r _; kill -9 "-$1" 2>/dev/null`, "sh", String(group)], {
            stdio: ["pipe", "ignore", "ignore"],
            detached: true,
            cwd: "/",
          });
    guardian?.on("error", () => undefined);
    guardian?.stdin?.on("error", () => undefined);
    const onAbort = () => group !== undefined && killGroup(group);
    options.signal?.addEventListener("abort", onAbort);
    let [stdout, output, line] = ["", "", ""];
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output = (output + text).slice(-KEPT_OUTPUT);
        if (stream === child.stdout) stdout += text;
        const lines = (line + text).split(/[\r\n]+/);
        line = lines.pop() ?? "";
        for (const each of lines) if (each.trim()) options.onLine?.(each.trim());
      });
    }
    const finish = (result: CommandResult) => {
      guardian?.kill("SIGKILL");
      options.signal?.removeEventListener("abort", onAbort);
      if (options.signal?.aborted) fail(options.signal.reason as Error);
      else done(result);
    };
    child.once("error", (error) => finish({ code: null, stdout, output: output + error.message }));
    child.once("close", (code) => finish({ code, stdout, output }));
  });
}

function killGroup(group: number): void {
  try {
    process.kill(-group, "SIGKILL");
  } catch {
    // ended already
  }
}
