import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createHome } from "./home.ts";
import { until } from "./until.ts";

const ownBin = join(import.meta.dirname, "../../bin");

/** Makes a token for agents on the Lite of this home, in a file. */
export function agentTokenFile(home: string, name: string, queues: string, bin = ownBin): string {
  const answer = execFileSync(
    process.execPath,
    [join(bin, "leoflow"), "auth", "create-agent-token", name, "--queues", queues, "--json"],
    { env: { ...process.env, LEOFLOW_HOME: home }, encoding: "utf8" },
  );
  const file = join(mkdtempSync(join(tmpdir(), "leoflow-token-")), "token");
  writeFileSync(file, (JSON.parse(answer) as { token: string }).token, { mode: 0o600 });
  return file;
}

export interface AgentProcess {
  name: string;
  home: string;
  process: ChildProcess;
  pid: number;
  output(): string;
  /** Resolves with its exit code, or the signal that ended it. */
  ended: Promise<number | NodeJS.Signals | null>;
}

/** leoflow-agent as a process, each with a home of its own. */
export class Agents {
  readonly #bin: string;
  readonly #started: { agent: AgentProcess; remove: () => void }[] = [];

  constructor(bin = ownBin) {
    this.#bin = bin;
  }

  /** Resolves when the server has taken it. */
  async start(
    name: string,
    server: string,
    tokenFile: string,
    options: { args?: string[]; env?: Record<string, string>; node?: string[] } = {},
  ): Promise<AgentProcess> {
    const { paths, remove } = createHome();
    const { args = [], env = {}, node = [] } = options;
    const child = spawn(
      process.execPath,
      [
        ...[...node, join(this.#bin, "leoflow-agent"), "--server", server, "--token-file", tokenFile],
        ...["--home", paths.home, "--hostname", name, ...args],
      ],
      { env: { ...process.env, ...env }, stdio: ["ignore", "ignore", "pipe"] },
    );
    let output = "";
    child.stderr.on("data", (data: Buffer) => (output += data.toString()));
    const ended = new Promise<number | NodeJS.Signals | null>((resolve) =>
      child.once("exit", (code, signal) => resolve(signal ?? code)),
    );
    const agent = { name, home: paths.home, process: child, pid: child.pid ?? 0, output: () => output, ended };
    this.#started.push({ agent, remove });
    await until(`agent ${name} is ready`, () => {
      if (child.exitCode !== null) throw new Error(`leoflow-agent ended with ${child.exitCode}:\n${output}`);
      return output.includes("the agent is ready");
    });
    return agent;
  }

  /** Ends all that still run, and removes their homes. */
  async remove(): Promise<void> {
    for (const { agent, remove } of this.#started.splice(0)) {
      agent.process.kill("SIGCONT");
      // Two of the same may arrive as one.
      agent.process.kill("SIGTERM");
      agent.process.kill("SIGINT");
      await agent.ended;
      remove();
    }
  }
}

/** A TCP proxy on loopback: the network between an agent and its server, to be cut. */
export class Wire {
  readonly #target: number;
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  #port = 0;

  constructor(target: number) {
    this.#target = target;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async open(): Promise<this> {
    const server = createServer((near) => {
      const far = connect(this.#target, "127.0.0.1");
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(one);
        one.on("error", () => one.destroy());
        one.once("close", () => {
          this.#sockets.delete(one);
          other.destroy();
        });
        one.pipe(other);
      }
    });
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
    return this;
  }

  /** Nothing passes any more, nor what is under way. */
  async cut(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    const closed = new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

export function removeTokenFile(file: string): void {
  rmSync(join(file, ".."), { recursive: true, force: true });
}
