import { join } from "node:path";
import { mkdirSync } from "node:fs";
import { readEnvironment, type Environment } from "../kit/config.ts";
import type { Logger } from "../kit/service.ts";
import { resolvePaths, type LeoflowPaths } from "../lite/paths.ts";
import { processTerminal, TerminalProgress, type Terminal } from "./terminal-progress.ts";

/** What a command that works on an installation is given. It also fits `DatastoreOptions`. */
export interface CommandContext {
  environment: Environment;
  paths: LeoflowPaths;
  terminal: Terminal;
  progress: TerminalProgress;
  logger: Logger;
  runtimeDir: string | undefined;
  /** Aborted by Ctrl-C or SIGTERM: what was begun is undone, then the command ends with 130. */
  signal: AbortSignal;
}

class CalledOff extends Error {}

/** Runs a command's work; Ctrl-C calls it off instead of ending it in the middle. */
export async function runCommandWork(work: (context: CommandContext) => Promise<void>): Promise<void> {
  const environment = readEnvironment();
  const paths = resolvePaths(environment.home);
  const terminal = processTerminal(environment.noColor);
  const calledOff = new AbortController();
  const onSignal = () => {
    if (calledOff.signal.aborted) process.exit(130);
    calledOff.abort(new CalledOff("called off"));
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal);
  try {
    await work({
      environment,
      paths,
      terminal,
      progress: new TerminalProgress(terminal),
      logger: await commandLogger(paths, environment),
      runtimeDir: environment.runtimeDir,
      signal: calledOff.signal,
    });
  } catch (error) {
    if (!calledOff.signal.aborted) throw error;
    terminal.write("  Called off; nothing was changed\n");
    process.exit(130);
  } finally {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.off(signal, onSignal);
  }
}

/** Into the installation's own log, where there is an installation. */
async function commandLogger(paths: LeoflowPaths, environment: Environment): Promise<Logger> {
  // Not for `leoflow version`, which reads this file too.
  const { createLogger } = await import("../kit/logger.ts");
  try {
    mkdirSync(paths.logs, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") return createLogger({ level: "silent" });
  }
  return createLogger({ level: environment.logLevel, file: join(paths.logs, "leoflow.log") });
}
