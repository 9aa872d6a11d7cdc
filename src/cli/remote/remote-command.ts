import type { Command } from "commander";
import { readEnvironment, type Environment } from "../../kit/config.ts";
import { UserError } from "../../kit/user-error.ts";
import { resolvePaths, type LeoflowPaths } from "../../lite/paths.ts";
import { printError } from "../errors.ts";
import { processTerminal, type Terminal } from "../terminal-progress.ts";
import type { Server, ServerOptions } from "./server.ts";

/** What a short command works with: no logger and no progress, which cost a start-up more than they give it. */
export interface Local {
  environment: Environment;
  paths: LeoflowPaths;
  terminal: Terminal;
  signal: AbortSignal;
}

export interface Remote extends Local {
  server: Server;
}

export interface RemoteOptions extends ServerOptions {
  json?: boolean;
}

/** Adds a command that talks to a server. `json` describes what `--json` prints; examples are whole command lines. */
export function addRemoteCommand(
  parent: Command,
  nameAndArguments: string,
  { description, examples, json }: { description: string; examples: readonly string[]; json?: string },
): Command {
  const command = parent.command(nameAndArguments).description(description);
  if (json !== undefined) command.option("--json", `as JSON: ${json}`);
  return command
    .option("--server <url>", "the Leoflow to talk to, instead of LEOFLOW_SERVER, the saved one or this home's own")
    .option("--token <token>", "a user's token for it, instead of LEOFLOW_TOKEN or the saved one")
    .addHelpText("after", examplesText(examples));
}

/** Adds the command that holds others; the list of commands shows its first sentence. */
export function addGroup(program: Command, name: string, description: string, examples: readonly string[]): Command {
  const summary = (description.split(/[.:]\s|\.$/)[0] ?? "").replace(/^./, (first) => first.toLowerCase());
  return program.command(name).summary(summary).description(description).addHelpText("after", examplesText(examples));
}

export function examplesText(examples: readonly string[]): string {
  return `\nExamples:\n${examples.map((line) => `  ${line}\n`).join("")}`;
}

/** Runs a command's work with the server it means. */
export function runRemote(options: ServerOptions, work: (remote: Remote) => Promise<void>): Promise<void> {
  return runLocal(async (local) => {
    const { connectServer } = await import("./server.ts");
    await work({ ...local, server: await connectServer(local, options) });
  });
}

/** Runs a command's work; Ctrl-C ends it with 130, a reader that goes away ends it quietly. */
export async function runLocal(work: (local: Local) => Promise<void>): Promise<void> {
  process.once("SIGINT", () => process.exit(130));
  process.once("SIGTERM", () => process.exit(143));
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    printError(error);
    process.exit(1);
  });
  const environment = readEnvironment();
  const terminal = processTerminal(environment.noColor);
  const paths = resolvePaths(environment.home);
  await work({ environment, paths, terminal, signal: new AbortController().signal });
}

export function printJson(terminal: Terminal, value: unknown): void {
  terminal.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** For people, beside what scripts read. */
export function note(text: string): void {
  process.stderr.write(`note: ${text}\n`);
}

/** A whole number from an option. Throws UserError. */
export function wholeNumber(name: string, text: string, least = 0): number {
  const value = Number(text);
  if (/^-?\d+$/.test(text) && value >= least && Number.isSafeInteger(value)) return value;
  throw usage(`${name} is ${JSON.stringify(text)}`, `use a whole number from ${least} on`);
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Seconds from an option such as `90s`, `30m`, `12h` or `7d`. Throws UserError. */
export function seconds(name: string, text: string): number {
  const [, amount, unit = ""] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  if (amount === undefined)
    throw usage(`${name} is ${JSON.stringify(text)}`, "use a number and a unit: 90s, 30m, 12h, 7d");
  return Number(amount) * (UNIT_SECONDS[unit] ?? 0);
}

export function usage(what: string, fix: string): UserError {
  return new UserError(what, { fix, exitCode: 2 });
}

/** How many rows `--limit` allows: 0 is all. */
export function limitOf(options: { limit: string }): number {
  return wholeNumber("--limit", options.limit) || Infinity;
}

/** Says so where a list was cut. */
export function noteCut(shown: number, total: number): void {
  if (shown < total) note(`${shown} of ${total} shown; --limit 0 shows all`);
}

/** An option that can be given more than once. */
export function collect(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** Asks before what cannot be taken back; where nobody can answer, `--yes` is needed. Throws UserError for a no. */
export async function confirmed(options: { yes?: boolean }, what: string): Promise<void> {
  if (options.yes) return;
  const { canAsk, confirm } = await import("../ask.ts");
  if (!canAsk()) throw usage(`refusing to ${what} without --yes`, "run the same command with --yes");
  if (!(await confirm(`Really ${what}? [y/N] `))) {
    throw new UserError("called off", { fix: "nothing was changed" });
  }
}

/** The conf of a run as JSON text, from `--conf` or `--conf-file` ("-" is stdin). Throws UserError unless it is an object. */
export async function confOf(options: { conf?: string; confFile?: string }): Promise<string | undefined> {
  const { conf, confFile } = options;
  if (conf !== undefined && confFile !== undefined) {
    throw usage("--conf and --conf-file exclude each other", "give one of them");
  }
  const text = confFile === undefined ? conf : await readInput(confFile);
  if (text === undefined) return undefined;
  requireObject(confFile === undefined ? "--conf" : confFile, text);
  return text;
}

/** Throws UserError where `text` is not a JSON object; `name` is what it calls it. */
export function requireObject(name: string, text: string): void {
  const fix = `write it as '{"key": "value"}'`;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw usage(`${name} is not JSON: ${(error as Error).message}`, fix);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw usage(`${name} is not a JSON object`, fix);
  }
}

/** A file's text; "-" is stdin. Throws UserError. */
export async function readInput(file: string): Promise<string> {
  if (file === "-") return (await import("node:stream/consumers")).text(process.stdin);
  const { readFile } = await import("node:fs/promises");
  return readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT" && error.code !== "EISDIR") throw error;
    const what = error.code === "ENOENT" ? `there is no file ${file}` : `${file} is a folder`;
    throw new UserError(what, { fix: "look at its name; - reads stdin" });
  });
}

/** Written beside and renamed: whole or not at all. `private` keeps it from other users. */
export async function writeOutput(file: string, text: string, mode = 0o666): Promise<void> {
  const { rename, writeFile } = await import("node:fs/promises");
  const fresh = `${file}.${process.pid}.new`;
  await writeFile(fresh, text, { mode, flush: true });
  await rename(fresh, file);
}
