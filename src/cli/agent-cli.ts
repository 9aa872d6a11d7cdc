import { readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { Option } from "commander";
import { systemClock } from "../kit/clock.ts";
import { expandHome, readEnvironment, type Environment } from "../kit/config.ts";
import { createLogger } from "../kit/logger.ts";
import { UserError } from "../kit/user-error.ts";
import { resolvePaths } from "../lite/paths.ts";
import type { Progress } from "../lite/progress.ts";
import type { RunningAgent } from "../worker/agent.ts";
import { printError } from "./errors.ts";
import { newProgram, runProgram } from "./run-program.ts";

interface Options {
  server?: string;
  tokenFile?: string;
  concurrency: string;
  queues?: string;
  home?: string;
  hostname?: string;
  drainSeconds: string;
  logFormat: "text" | "json";
}

const WRONG_USE = 2;
const DEFAULT_CONCURRENCY = 16;
const DEFAULT_DRAIN_SECONDS = 86_400;
/** What is left when the tasks are told to end: their grace, and a word to the server. */
const STOP_LIMIT_MS = 15_000;

/** The program `leoflow-agent`: runs the tasks of some queues on this machine, for a Leoflow elsewhere. */
export async function runAgentCli(args: readonly string[]): Promise<number> {
  const program = newProgram("leoflow-agent", "Run tasks on this machine for a Leoflow elsewhere.")
    .option("--server <url>", "the Leoflow to work for")
    .option("--token-file <file>", "file with the agent's token")
    .option("--concurrency <number>", "tasks at a time", String(DEFAULT_CONCURRENCY))
    .option("--queues <names>", "serve only these queues of the token, separated by commas")
    .option("--home <folder>", "where Python, DAG files and logs live (default: ~/.leoflow)")
    .option("--hostname <name>", "what this machine is called in Leoflow (default: its own name)")
    .option("--drain-seconds <number>", "how long a stop waits for tasks that run", String(DEFAULT_DRAIN_SECONDS))
    .addOption(new Option("--log-format <format>", "lines on stderr").choices(["text", "json"]).default("text"))
    .addHelpText(
      "after",
      `
Examples:
  leoflow-agent --server https://leoflow.example.com --token-file /etc/leoflow/agent-token
  leoflow-agent --server http://10.0.0.5:8088 --token-file token --concurrency 32 --queues gpu,heavy
  LEOFLOW_AGENT_TOKEN=... leoflow-agent --server http://localhost:8088 --home ~/.leoflow-agent

The token is made on the server: leoflow auth create-agent-token

Stop: SIGTERM or Ctrl-C takes no more work and waits for what runs; once more ends it, and it runs again elsewhere.
Exit codes: 0 nothing was cut short, 1 it failed or tasks were ended, 2 wrong use.

Environment:
  LEOFLOW_SERVER        instead of --server
  LEOFLOW_AGENT_TOKEN   instead of --token-file
  LEOFLOW_HOME          instead of --home
  LEOFLOW_LOG_LEVEL, HTTPS certificates of your own: NODE_EXTRA_CA_CERTS
`,
    );
  let exitCode = 0;
  program.action(async (options: Options) => {
    exitCode = await runAgent(options);
  });
  return (await runProgram(program, args)) || exitCode;
}

async function runAgent(options: Options): Promise<number> {
  const environment = readEnvironment();
  const server = serverOf(options.server ?? environment.server);
  const token = options.tokenFile === undefined ? environment.agentToken : readToken(options.tokenFile, environment);
  if (token === undefined) {
    throw new UserError("the agent has no token", {
      fix: "make one on the server with `leoflow auth create-agent-token`, and name its file with --token-file",
      exitCode: WRONG_USE,
    });
  }
  const concurrency = wholeNumber(options.concurrency, "--concurrency", 1, 10_000);
  const drainSeconds = wholeNumber(options.drainSeconds, "--drain-seconds", 0, 2_000_000);
  const queues = options.queues?.split(",").map((name) => name.trim());
  if (queues?.includes("")) {
    throw new UserError(`--queues is ${JSON.stringify(options.queues)}`, {
      fix: "name queues with commas between them: --queues gpu,heavy",
      exitCode: WRONG_USE,
    });
  }
  const home = options.home === undefined ? environment.home : resolve(expandHome(options.home, environment.userHome));
  const logger = createLogger({ level: environment.logLevel, inWords: options.logFormat === "text" });
  const progress: Progress = {
    async step(title, work) {
      const began = performance.now();
      logger.info(title);
      const result = await work((detail) => logger.debug({ detail }, title));
      logger.info({ ms: Math.round(performance.now() - began) }, `done: ${title}`);
      return result;
    },
    note: (text) => logger.warn(text),
  };

  const stopping = new Stopping();
  let failure: UserError | undefined;
  let agent: RunningAgent;
  try {
    const { startAgent } = await import("../worker/agent.ts");
    agent = await startAgent({
      kit: { logger, clock: systemClock },
      paths: resolvePaths(home),
      progress,
      server,
      token,
      hostname: options.hostname ?? hostname(),
      concurrency,
      queues: queues ?? null,
      signal: stopping.asked,
      onFailure(error) {
        failure = error;
        stopping.now();
      },
    });
  } catch (error) {
    // A start that was called off has undone what it had begun.
    if (stopping.asked.aborted) return failure ? 1 : 0;
    throw error;
  }
  const { welcome } = agent.session;
  logger.info({ agent: welcome.agent, server: server.href, queues: welcome.queues, concurrency }, "the agent is ready");
  await aborted(stopping.asked);
  if (!failure) {
    logger.info({ tasks: agent.held(), seconds: drainSeconds }, "stopping: taking no more work, waiting for what runs");
    const limit = setTimeout(() => stopping.now(), Math.min(drainSeconds * 1000, 2 ** 31 - 1));
    await Promise.race([agent.drain(), aborted(stopping.atOnce)]);
    clearTimeout(limit);
  }
  const cut = agent.held();
  if (cut > 0) logger.warn({ tasks: cut }, "ending what still runs; it runs again elsewhere");
  const limit = setTimeout(() => process.exit(1), STOP_LIMIT_MS);
  await agent.stop();
  clearTimeout(limit);
  if (failure) printError(failure);
  else logger.info("stopped");
  return failure || cut > 0 ? 1 : 0;
}

/** What signals ask for: the first to stop, the second to do so at once, the third to leave everything. */
class Stopping {
  readonly #asked = new AbortController();
  readonly #atOnce = new AbortController();

  constructor() {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => this.#next());
  }

  get asked(): AbortSignal {
    return this.#asked.signal;
  }

  get atOnce(): AbortSignal {
    return this.#atOnce.signal;
  }

  now(): void {
    this.#asked.abort();
    this.#atOnce.abort();
  }

  #next(): void {
    if (!this.#asked.signal.aborted) this.#asked.abort();
    else if (!this.#atOnce.signal.aborted) this.#atOnce.abort();
    else process.exit(1);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

function serverOf(text: string | undefined): URL {
  const fix = "name it with --server https://leoflow.example.com";
  if (text === undefined) throw new UserError("the agent has no server", { fix, exitCode: WRONG_USE });
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !["http:", "https:"].includes(url.protocol)) {
    throw new UserError(`the server ${JSON.stringify(text)} is not an http or https address`, {
      fix,
      exitCode: WRONG_USE,
    });
  }
  return url;
}

function readToken(file: string, { userHome }: Environment): string {
  const path = resolve(expandHome(file, userHome));
  let text: string;
  try {
    text = readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new UserError(`cannot read the token file ${path}: ${(error as Error).message}`, {
      fix: "write the token into it, readable by the agent's user",
      exitCode: WRONG_USE,
      cause: error,
    });
  }
  if (!/^\S+$/.test(text)) {
    throw new UserError(`the token file ${path} ${text === "" ? "is empty" : "holds more than a token"}`, {
      fix: "write into it what `leoflow auth create-agent-token` printed, and nothing else",
      exitCode: WRONG_USE,
    });
  }
  if ((statSync(path).mode & 0o077) !== 0) {
    process.stderr.write(`warning: others can read ${path}: chmod 600 ${path}\n`);
  }
  return text;
}

function wholeNumber(text: string, name: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new UserError(`${name} is ${JSON.stringify(text)}`, {
    fix: `use a whole number from ${least} to ${most}`,
    exitCode: WRONG_USE,
  });
}
