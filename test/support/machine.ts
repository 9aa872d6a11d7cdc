import { spawn, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join, relative } from "node:path";
import { Client } from "../../bench/client.ts";
import { runCommand, type CommandResult } from "../../src/lite/command.ts";
import { resolvePaths, type LeoflowPaths } from "../../src/lite/paths.ts";
import { ADMIN, freePort, PASSWORD } from "./lite.ts";
import { until } from "./until.ts";

/** A user's computer as far as Leoflow sees one: a home directory into which releases are installed. */
export interface Machine {
  /** $HOME; everything Leoflow writes is below it. */
  home: string;
  paths: LeoflowPaths;
  port: number;
  /** Runs `install.sh` for this version; more environment may be given. */
  install(version: string, env?: Record<string, string>): Promise<CommandResult>;
  /** Runs the installed `leoflow` to its end. */
  leoflow(...args: string[]): Promise<CommandResult>;
  startLite(): Promise<InstalledLite>;
  remove(): Promise<void>;
}

export interface InstalledLite {
  client: Client;
  pid: number;
  output(): string;
  stop(): Promise<void>;
}

/** `releases` is the folder that a release build writes: `latest`, `v<version>/…`, `install.sh`. */
export async function createMachine(releases: string): Promise<Machine> {
  const home = mkdtempSync(join(tmpdir(), "leoflow-machine-"));
  const paths = resolvePaths(join(home, ".leoflow"));
  const bin = join(home, ".local/bin");
  const port = await freePort();
  mkdirSync(bin, { recursive: true });
  const environment = {
    HOME: home,
    PATH: `${bin}:${process.env["PATH"] ?? ""}`,
    LEOFLOW_BASE_URL: releases,
    LEOFLOW_INSTALL_DIR: bin,
    LEOFLOW_NO_PATH: "1",
    LEOFLOW_NO_SETUP: "1",
    LEOFLOW_NONINTERACTIVE: "1",
    LEOFLOW_ADMIN_PASSWORD: PASSWORD,
    LEOFLOW_LITE_PORT: undefined,
    LEOFLOW_HOME: undefined,
    LEOFLOW_WORKSPACE: undefined,
    // The wheels were downloaded by the tests' own set-up; a second computer need not do it again.
    UV_CACHE_DIR: process.env["UV_CACHE_DIR"] ?? join(homedir(), ".cache/uv"),
    PIP_CACHE_DIR: process.env["PIP_CACHE_DIR"] ?? join(homedir(), ".cache/pip"),
  };
  const children: ChildProcess[] = [];
  return {
    home,
    paths,
    port,
    install: (version, env = {}) =>
      runCommand(["sh", join(releases, "install.sh")], {
        env: { ...environment, LEOFLOW_VERSION: version, ...env },
        cwd: home,
      }),
    leoflow: (...args) => runCommand([join(bin, "leoflow"), ...args], { env: environment, cwd: home }),
    async startLite() {
      const child = spawn(join(bin, "leoflow"), ["lite", "--port", String(port)], {
        env: { ...process.env, ...environment },
        cwd: home,
        stdio: ["ignore", "pipe", "pipe"],
      });
      children.push(child);
      let output = "";
      child.stdout.on("data", (data: Buffer) => (output += data.toString()));
      child.stderr.on("data", (data: Buffer) => (output += data.toString()));
      const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
      const client = new Client(`http://127.0.0.1:${port}`);
      await until(
        "Lite is ready",
        () => {
          if (child.exitCode !== null) throw new Error(`leoflow lite ended with ${child.exitCode}:\n${output}`);
          return output.includes("is ready");
        },
        120,
      );
      await client.login(ADMIN, PASSWORD);
      return {
        client,
        pid: child.pid ?? 0,
        output: () => output,
        async stop() {
          child.kill("SIGTERM");
          await exited;
        },
      };
    },
    async remove() {
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        child.kill("SIGTERM");
        await new Promise((resolve) => child.once("exit", resolve));
      }
      rmSync(home, { recursive: true, force: true });
    },
  };
}

/** What a folder holds: for each path its kind, mode and content's hash. A missing folder is empty. */
export function contentsOf(folder: string): Record<string, string> {
  const contents: Record<string, string> = {};
  const visit = (path: string): void => {
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (!stats) return;
    const mode = (stats.mode & 0o7777).toString(8);
    const name = relative(folder, path);
    if (stats.isSymbolicLink()) contents[name] = `link to ${readlinkSync(path)}`;
    else if (stats.isDirectory()) {
      contents[name] = `folder ${mode}`;
      for (const entry of readdirSync(path)) visit(join(path, entry));
    } else if (stats.isFile()) {
      contents[name] = `file ${mode} ${createHash("sha256").update(readFileSync(path)).digest("hex")}`;
    }
  };
  visit(folder);
  return contents;
}
