import { resolve } from "node:path";
import type { Command } from "commander";
import { expandHome, parsePort, readEnvironment } from "../kit/config.ts";
import { UserError } from "../kit/user-error.ts";
import type { RunningLite, StartControlPlane } from "../lite/start.ts";
import { printError } from "./errors.ts";
import { readyBlock } from "./ready-block.ts";
import { processTerminal, seconds, TerminalProgress } from "./terminal-progress.ts";

const STOP_LIMIT_MS = 5_000;
/** npm hands a Ctrl-C on that the terminal has sent already: one press can come twice. */
const SAME_PRESS_MS = 500;

interface Options {
  port?: string;
  host?: string;
  workspace?: string;
}

/** `leoflow lite`: everything on this machine, until Ctrl-C. Returned for what else can be done to it: `leoflow lite backup`. */
export function addLiteCommand(program: Command, loadControlPlane: () => Promise<StartControlPlane>): Command {
  return program
    .command("lite")
    .summary("run Leoflow on this machine")
    .description("Run Leoflow on this machine: managed PostgreSQL, scheduler, web interface and your DAGs.")
    .option("--port <number>", "port of the web interface (default: lite_port in config.yaml, at first 8088)")
    .option("--host <address>", "address to listen on (default: 127.0.0.1, this machine only)")
    .option("--workspace <folder>", "folder with your DAGs (default: workspace in config.yaml, at first ~/leoflow)")
    .addHelpText(
      "after",
      `
Examples:
  leoflow lite                          start, open http://localhost:8088
  leoflow lite --port 9000              on another port
  leoflow lite --workspace ~/my-dags    with the DAGs of another folder

Environment:
  LEOFLOW_HOME             where settings, database and Python live (~/.leoflow)
  LEOFLOW_ADMIN_PASSWORD   password for the first start, instead of a made one
  LEOFLOW_LITE_PORT, LEOFLOW_HOST, LEOFLOW_WORKSPACE, LEOFLOW_LOG_LEVEL, NO_COLOR
`,
    )
    .action((options: Options) => runLite(options, loadControlPlane));
}

async function runLite(options: Options, loadControlPlane: () => Promise<StartControlPlane>): Promise<void> {
  const began = performance.now();
  // Read while PostgreSQL starts; its error is met where it is awaited.
  const controlPlane = loadControlPlane();
  controlPlane.catch(() => undefined);
  const environment = readEnvironment();
  const terminal = processTerminal(environment.noColor);
  const progress = new TerminalProgress(terminal);
  const calledOff = new AbortController();
  let running: RunningLite | undefined;
  let exitCode = 0;

  const finish = async (reason: string): Promise<void> => {
    if (!running) return; // still starting: the signal calls that off, and it stops what it had begun
    terminal.write(`\n  Stopping (${reason}) ...\n`);
    const limit = setTimeout(() => {
      printError(
        new UserError("Leoflow did not stop in time and was ended; tasks that ran are found by the next start"),
      );
      process.exit(1);
    }, STOP_LIMIT_MS);
    limit.unref();
    const stopping = performance.now();
    await running.stop();
    terminal.write(`  Stopped in ${seconds(stopping)}\n`);
    process.exit(exitCode);
  };
  let signalled = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (calledOff.signal.aborted) {
      // A second one is impatience: PostgreSQL's guardian and the Python processes see our end and end themselves.
      if (performance.now() - signalled > SAME_PRESS_MS) process.exit(130);
      return;
    }
    signalled = performance.now();
    calledOff.abort(new CalledOff());
    void finish(signal === "SIGINT" ? "Ctrl-C; once more ends it at once" : signal);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal);
  const onFailure = (error: unknown): void => {
    printError(error);
    exitCode = 1;
    if (calledOff.signal.aborted) return;
    calledOff.abort(new CalledOff());
    void finish("after this error");
  };
  process.on("uncaughtException", onFailure);
  process.on("unhandledRejection", onFailure);

  try {
    const { startLite } = await import("../lite/start.ts");
    running = await startLite({
      environment,
      port: options.port === undefined ? undefined : parsePort(options.port, "--port"),
      host: options.host,
      workspace: pathOption(options.workspace ?? environment.workspace, environment.userHome),
      startControlPlane: async (all) => (await controlPlane)(all),
      progress,
      // What comes while all stops is the echo of stopping; it is in the log.
      onWarning: (line) => calledOff.signal.aborted || progress.note(line),
      onFailure,
      signal: calledOff.signal,
    });
  } catch (error) {
    // A start that was called off has stopped what it had begun; its error is only the echo of that.
    if (!calledOff.signal.aborted) throw error;
    process.exit(exitCode);
  }
  if (calledOff.signal.aborted) return finish("called off");
  terminal.write(
    readyBlock(running, {
      terminal,
      passwordFromEnvironment: environment.adminPassword !== undefined,
      took: seconds(began),
    }),
  );
}

class CalledOff extends Error {}

function pathOption(path: string | undefined, userHome: string): string | undefined {
  return path === undefined ? undefined : resolve(expandHome(path, userHome));
}
