import { spawn, type ChildProcess } from "node:child_process";
import { rmSync } from "node:fs";
import { basename, join } from "node:path";
import { randomUUID } from "node:crypto";
import { build } from "esbuild";
import { programVersion } from "../../src/kit/version.ts";
import { loadMigrations } from "../../src/store/migrations.ts";
import { sharedHome } from "./home.ts";

/** A program of ours in TypeScript as a process of its own, for tests that must kill it. */
export interface BundledProgram {
  file: string;
  /** `wrapper` goes before node: `["setpriv", …]`. */
  start(args: string[], wrapper?: string[]): ChildProcess;
  killAll(): void;
  remove(): void;
}

export async function bundleProgram(entry: string): Promise<BundledProgram> {
  const file = join(sharedHome.program, ".cache", `${basename(entry, ".ts")}-${randomUUID()}.mjs`);
  await build({
    entryPoints: [entry],
    outfile: file,
    bundle: true,
    packages: "external",
    platform: "node",
    target: "node20",
    format: "esm",
    define: {
      LEOFLOW_VERSION: JSON.stringify(programVersion),
      LEOFLOW_MIGRATIONS: JSON.stringify(loadMigrations()),
    },
    logLevel: "warning",
  });
  const started: ChildProcess[] = [];
  return {
    file,
    start(args, wrapper = []) {
      const [program, ...rest] = [...wrapper, process.execPath, file, ...args];
      const child = spawn(program as string, rest, { stdio: ["ignore", "pipe", "inherit"] });
      started.push(child);
      return child;
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

/** Waits for a condition, because tests do not sleep. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  limitMs = 15_000,
): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited ${limitMs} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
