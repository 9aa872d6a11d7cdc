import { UserError } from "../kit/user-error.ts";

/** What a disk or its owner may say to any file of ours, and the way out of it. */
const SYSTEM_ERRORS: Record<string, [what: string, fix: string]> = {
  EACCES: ["no permission", "make it yours again (`sudo chown -R $USER`), should Leoflow have been run with sudo once"],
  EPERM: ["not permitted", "look who owns it, and what its file system allows"],
  EROFS: ["the file system is read-only", "mount it to be written, or choose another place"],
  ENOSPC: ["the disk is full", "free some space and run the same command again"],
  EDQUOT: ["your share of the disk is used up", "free some space and run the same command again"],
};

/** One line that says what is wrong, one that says the way out. A stack only for what is our own fault. */
export function printError(error: unknown): void {
  process.stderr.write(describeError(error));
}

export function describeError(error: unknown): string {
  if (error instanceof UserError) return `error: ${error.message}\n${error.fix ? `  fix: ${error.fix}\n` : ""}`;
  const { code = "", path, dest } = error instanceof Error ? (error as NodeJS.ErrnoException & { dest?: string }) : {};
  const known = SYSTEM_ERRORS[code];
  if (known) return `error: ${known[0]}: ${dest ?? path ?? (error as Error).message}\n  fix: ${known[1]}\n`;
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const cause = error instanceof Error && error.cause instanceof Error ? `\ncaused by: ${error.cause.stack}` : "";
  return `error: ${text}${cause}\n  fix: this is a fault of Leoflow's own; please report it with these lines\n`;
}

export function exitCodeOf(error: unknown): number {
  return error instanceof UserError ? error.exitCode : 1;
}
