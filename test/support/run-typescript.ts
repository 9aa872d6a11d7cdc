import { spawn, type ChildProcess } from "node:child_process";
import { rmSync } from "node:fs";
import { basename, join } from "node:path";
import { randomUUID } from "node:crypto";
import { bundleScript } from "../bundle-script.mjs";
import { sharedHome } from "./home.ts";
import { until as waitUntil } from "./until.ts";

/** A program of ours in TypeScript as a process of its own, for tests that must kill it. */
export interface BundledProgram {
  file: string;
  /** `wrapper` goes before node: `["setpriv", …]`. */
  start(args: string[], wrapper?: readonly string[]): ChildProcess;
  /** The same, with stderr kept too. */
  run(args: string[], wrapper?: readonly string[]): RunningProgram;
  killAll(): void;
  remove(): void;
}

export interface RunningProgram {
  child: ChildProcess;
  /** What stdout has so far. */
  output: () => string;
  ended: Promise<{ code: number | null; output: string; errors: string }>;
}

export async function bundleProgram(entry: string): Promise<BundledProgram> {
  const file = join(sharedHome.program, ".cache", `${basename(entry, ".ts")}-${randomUUID()}.mjs`);
  await bundleScript(entry, file);
  const started: ChildProcess[] = [];
  const spawnProgram = (args: string[], wrapper: readonly string[], stderr: "inherit" | "pipe") => {
    const [program, ...rest] = [...wrapper, process.execPath, file, ...args];
    const child = spawn(program as string, rest, { stdio: ["ignore", "pipe", stderr] });
    started.push(child);
    return child;
  };
  return {
    file,
    start: (args, wrapper = []) => spawnProgram(args, wrapper, "inherit"),
    run(args, wrapper = []) {
      const child = spawnProgram(args, wrapper, "pipe");
      let [output, errors] = ["", ""];
      child.stdout?.on("data", (data: Buffer) => (output += data.toString()));
      child.stderr?.on("data", (data: Buffer) => (errors += data.toString()));
      const ended = new Promise<{ code: number | null; output: string; errors: string }>((done) =>
        child.once("close", (code) => done({ code, output, errors })),
      );
      return { child, output: () => output, ended };
    },
    killAll: () => started.forEach((child) => child.kill("SIGKILL")),
    remove: () => rmSync(file, { force: true }),
  };
}

/** The first line a process writes that is JSON. */
export function firstJson<T>(child: ChildProcess): Promise<T> {
  return new Promise((done, fail) => {
    let text = "";
    child.stdout?.on("data", (data: Buffer) => {
      text += data.toString();
      const line = text
        .split("\n")
        .slice(0, -1)
        .find((each) => each.startsWith("{"));
      if (line) done(JSON.parse(line) as T);
    });
    child.once("exit", (code, signal) => fail(new Error(`ended (${signal ?? code}) before it wrote JSON: ${text}`)));
  });
}

/** As `until` of until.ts, for who has it in this order. */
export function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  return waitUntil(what, condition);
}
