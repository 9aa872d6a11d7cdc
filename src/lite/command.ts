import { spawn } from "node:child_process";
import { childEnvironment } from "../kit/config.ts";
import { UserError } from "../kit/user-error.ts";

const KEPT_OUTPUT = 64 * 1024;

export interface CommandResult {
  /** null when a signal ended it or it could not start. */
  code: number | null;
  /** stdout, whole. */
  stdout: string;
  /** stdout and stderr as they came, the last 64 KB. */
  output: string;
}

export interface CommandOptions {
  env?: Record<string, string | undefined>;
  cwd?: string;
  /** Called with each line of stderr, for progress. */
  onLine?: (line: string) => void;
  /** Ends the program and throws the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** Runs a program to its end. Apart from being called off, never throws for what the program does; a missing program is code null. */
export async function runCommand(command: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [program, ...args] = command;
  if (program === undefined) throw new Error("empty command");
  options.signal?.throwIfAborted();
  return new Promise((done, fail) => {
    const child = spawn(program, args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: childEnvironment(options.env),
      cwd: options.cwd,
      signal: options.signal,
    });
    let stdout = "";
    let output = "";
    const keep = (text: string) => {
      output = (output + text).slice(-KEPT_OUTPUT);
    };
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      keep(text);
    });
    let unfinished = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      keep(text);
      const lines = (unfinished + text).split("\n");
      unfinished = lines.pop() ?? "";
      for (const line of lines) if (line.trim()) options.onLine?.(line.trim());
    });
    const finish = (result: CommandResult) => {
      if (options.signal?.aborted) fail(options.signal.reason as Error);
      else done(result);
    };
    child.once("error", (error) => {
      // Called off: the end itself is what is waited for.
      if (!options.signal?.aborted) finish({ code: null, stdout, output: output + error.message });
    });
    child.once("close", (code) => finish({ code, stdout, output }));
  });
}

export interface Purpose {
  /** What was being done, after "could not": "install Airflow's Python packages". */
  doing: string;
  /** What the network was wanted for; absent for work that needs none. */
  fetching?: string;
}

/** What a failed command means to a user: a full disk and a missing network have a way out of their own. */
export function commandError(purpose: Purpose, result: CommandResult): UserError {
  if (isDiskFull(result.output)) {
    return new UserError(`could not ${purpose.doing}: the disk is full`, {
      fix: "free some space (about 1 GB for a first start) and run the same command again",
    });
  }
  if (purpose.fetching && isNoNetwork(result.output)) {
    return new UserError(`could not ${purpose.doing}: no connection while fetching ${purpose.fetching}`, {
      fix:
        "connect to the network and run the same command again, it goes on where it stopped; behind a proxy set " +
        "HTTPS_PROXY, with a mirror of PyPI set UV_DEFAULT_INDEX",
    });
  }
  const last = result.output.trim().split("\n").slice(-12).join("\n");
  return new UserError(`could not ${purpose.doing}${last ? `:\n${last}` : ` (exit code ${result.code})`}`);
}

export function isDiskFull(text: string): boolean {
  return /No space left on device|os error 28|ENOSPC|Disk quota exceeded/i.test(text);
}

function isNoNetwork(text: string): boolean {
  return /dns error|failed to lookup|error sending request|client error \(Connect\)|Connection refused|Network is unreachable|NewConnectionError|Temporary failure in name resolution|Could not fetch|timed out|ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|fetch failed|Could not resolve host|tunnel error|unexpected status code 50[234]/i.test(
    text,
  );
}
