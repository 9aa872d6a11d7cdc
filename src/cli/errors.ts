import { UserError } from "../kit/user-error.ts";

/** One line that says what is wrong, one that says the way out. A stack only for what is our own fault. */
export function printError(error: unknown): void {
  process.stderr.write(describeError(error));
}

export function describeError(error: unknown): string {
  if (error instanceof UserError) return `error: ${error.message}\n${error.fix ? `  fix: ${error.fix}\n` : ""}`;
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const cause = error instanceof Error && error.cause instanceof Error ? `\ncaused by: ${error.cause.stack}` : "";
  return `error: ${text}${cause}\n  fix: this is a fault of Leoflow's own; please report it with these lines\n`;
}

export function exitCodeOf(error: unknown): number {
  return error instanceof UserError ? error.exitCode : 1;
}
