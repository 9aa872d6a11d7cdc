import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { expect } from "vitest";
import { leoflowProgram } from "../../src/cli/cli.ts";
import { commandShapes, type CommandShape } from "../../src/cli/command-shape.ts";
import type { CommandResult } from "../../src/lite/command.ts";
import { runOnTerminal } from "../release/pty.ts";
import { ADMIN, PASSWORD, type Lite, type LiteHome } from "./lite.ts";

export interface CliResult {
  /** null when a signal ended it. */
  code: number | null;
  out: string;
  err: string;
}

export interface CliOptions {
  input?: string;
  env?: Record<string, string>;
}

export const leoflowBin = join(import.meta.dirname, "../../bin/leoflow");

export const shapes: readonly CommandShape[] = commandShapes(
  leoflowProgram({ loadControlPlane: () => Promise.reject(new Error("not here")) }),
);

/** The command that a line names. */
export function shapeOf(line: string): CommandShape {
  let found = shapes[0] as CommandShape;
  for (const word of splitLine(line)) {
    const next = shapes.find(({ path }) => path === `${found.path} ${word}`);
    if (!next) break;
    found = next;
  }
  return found;
}

/** Words at blanks; single quotes hold words together. */
export function splitLine(line: string): string[] {
  return [...line.matchAll(/(?:'[^']*'|[^\s'])+/g)].map(([word]) => word.replaceAll("'", ""));
}

/** The command line against one Lite. `files` is a folder for what commands read and write. */
export class Cli {
  readonly files: string;
  readonly #home: string;
  readonly #lite: Lite;
  /** Paths that were told server and token, so that each command is once. */
  readonly #told = new Set<string>();
  #token: string | undefined;

  constructor(home: LiteHome, lite: Lite) {
    this.files = dirname(home.home);
    this.#home = home.home;
    this.#lite = lite;
  }

  /** A token of the admin. */
  async token(): Promise<string> {
    const line = `auth create-token --username ${ADMIN} --password-stdin`;
    this.#token ??= (await this.leoflow(line, { input: PASSWORD })).out.trim();
    return this.#token;
  }

  /** Runs `leoflow LINE` as a script does: through pipes. */
  async leoflow(line: string, { input = "", env = {} }: CliOptions = {}): Promise<CliResult> {
    const { path, options } = shapeOf(line);
    const takesToken = options.some(({ names }) => names.includes("--token")) && !path.includes("config");
    const isTold = !takesToken || /--server|--token/.test(line) || Object.keys(env).length > 0 || this.#told.has(path);
    this.#told.add(path);
    const words = isTold ? [] : ["--server", this.#lite.base, "--token", await this.token()];
    const child = spawn(process.execPath, [leoflowBin, ...splitLine(line), ...words], {
      env: { ...process.env, LEOFLOW_HOME: this.#home, HOME: this.files, ...env },
    });
    let [out, err] = ["", ""];
    child.stdout.on("data", (data: Buffer) => (out += data.toString()));
    child.stderr.on("data", (data: Buffer) => (err += data.toString()));
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    return new Promise((done) => child.once("close", (code) => done({ code, out, err })));
  }

  /** What a command that ends well prints. */
  async good(line: string, options?: CliOptions): Promise<string> {
    const { code, out, err } = await this.leoflow(line, options);
    const notes = expect.stringMatching(/^(note: .*\n)*$/) as string;
    expect({ line, code, err }).toEqual({ line, code: 0, err: notes });
    return out;
  }

  /** The same, read as JSON. */
  async json<T = Record<string, unknown>>(line: string, options?: CliOptions): Promise<T> {
    return JSON.parse(await this.good(line, options)) as T;
  }

  /** A command ends with `code` and one error, which holds `text`. */
  async refuses(line: string, code: number, text: string, options?: CliOptions): Promise<void> {
    const result = await this.leoflow(line, options);
    expect({ line, code: result.code, err: result.err }).toEqual({
      line,
      code,
      err: expect.stringMatching(/^(note: .*\n)*error: [^\n]+\n( {2}fix: [^\n]+\n)?$/) as string,
    });
    expect(result.err).toContain(text);
  }

  /** Runs it on a terminal of its own; see runOnTerminal. */
  onTerminal(
    line: string,
    dialogue: [string, string][] = [],
    { columns = 80, env = {} }: { columns?: number; env?: Record<string, string> } = {},
  ): Promise<CommandResult> {
    const sized = ["sh", "-c", `stty cols ${columns}; exec "$@"`, "sh"];
    return runOnTerminal([...sized, process.execPath, leoflowBin, ...splitLine(line)], dialogue, {
      LEOFLOW_HOME: this.#home,
      HOME: this.files,
      NO_COLOR: undefined,
      ...env,
    });
  }
}
