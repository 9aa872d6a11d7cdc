import {
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCommand, type CommandResult } from "../../src/lite/command.ts";
import { namesIn } from "./tools.ts";

export const SCRIPT = join(import.meta.dirname, "../../install.sh");

/** A user for whom install.sh is run: a home directory, and nothing of this machine's environment but PATH. */
export interface User {
  home: string;
  /** ~/.local/bin, to which install.sh is told to install. */
  bin: string;
  lib: string;
  releases: string;
  env(more?: Record<string, string | undefined>): Record<string, string | undefined>;
  /** Runs install.sh; the shell is `sh` unless named. */
  install(
    env?: Record<string, string | undefined>,
    shell?: readonly string[],
    args?: readonly string[],
  ): Promise<CommandResult>;
  /** What each of the three commands says of its version. */
  versions(): Promise<string[]>;
  /** Names in lib, `current -> …` for links. */
  libNames(): string[];
  setupCalls(): string[];
  remove(): void;
}

export function createUser(): User {
  const folder = mkdtempSync(join(tmpdir(), "leoflow-installer-"));
  const home = join(folder, "home with blanks");
  const bin = join(home, ".local/bin");
  const lib = join(home, ".local/lib/leoflow");
  const releases = join(folder, "releases");
  for (const each of [home, releases]) mkdirSync(each, { recursive: true });
  const nothing = Object.fromEntries(Object.keys(process.env).map((name) => [name, undefined]));
  const env = (more: Record<string, string | undefined> = {}) => ({
    ...nothing,
    HOME: home,
    PATH: `${bin}:${process.env["PATH"] ?? ""}`,
    TMPDIR: folder,
    SHELL: "/bin/sh",
    LEOFLOW_BASE_URL: releases,
    LEOFLOW_INSTALL_DIR: bin,
    ...more,
  });
  return {
    home,
    bin,
    lib,
    releases,
    env,
    install: (more, shell = ["sh"], args = []) =>
      runCommand([...shell, SCRIPT, ...args], { env: env(more), cwd: home }),
    async versions() {
      const said = ["leoflow", "leoflow-server", "leoflow-agent"].map((name) =>
        runCommand([join(bin, name), "version"], { env: env() }),
      );
      return (await Promise.all(said)).map(({ output }) => output.split(" ")[1] ?? output);
    },
    libNames: () =>
      namesIn(lib).map((name) => {
        const isLink = ["current", "previous"].includes(name);
        return isLink ? `${name} -> ${readlinkSync(join(lib, name))}` : name;
      }),
    setupCalls() {
      const file = join(home, "setup-calls");
      return existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** A folder of releases behind a loopback server; also as an HTTP proxy that plays GitHub. */
export interface ReleaseServer {
  url: string;
  requests: string[];
  stop(): Promise<void>;
}

export async function serveReleases(releases: string): Promise<ReleaseServer> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const asked = request.url ?? "/";
    requests.push(asked);
    // GitHub's own order of things, with its redirects to where the files are.
    const github = /^http:\/\/github\.com\/leoflow\/leoflow\/releases\/(.*)$/.exec(asked)?.[1];
    if (github !== undefined) {
      const path = github === "latest/download/latest" ? "latest" : /^download\/(.*)$/.exec(github)?.[1];
      response.writeHead(path === undefined ? 404 : 302, { location: `http://objects.example/${path}` }).end();
      return;
    }
    const file = join(releases, new URL(asked, "http://localhost").pathname);
    if (!existsSync(file) || !statSync(file).isFile()) {
      response.writeHead(404).end("<html>not here</html>");
      return;
    }
    response.writeHead(200, { "content-length": statSync(file).size });
    createReadStream(file).pipe(response);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    stop: () =>
      new Promise((closed) => {
        server.close(() => closed());
        server.closeAllConnections();
      }),
  };
}
