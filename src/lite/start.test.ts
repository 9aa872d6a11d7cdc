import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createHome } from "../../test/support/home.ts";
import { readEnvironment } from "../kit/config.ts";
import type { LeoflowPaths } from "./paths.ts";
import { readPostmasterFile } from "./postgres/stale-server.ts";
import { silentProgress } from "./progress.ts";
import { startLite, type LiteOptions, type RunningLite, type StartControlPlane } from "./start.ts";

vi.setConfig({ testTimeout: 90_000 });

let paths: LeoflowPaths;
let remove: () => void;
let running: RunningLite | undefined;
beforeEach(() => ({ paths, remove } = createHome()));
afterEach(async () => {
  await running?.stop();
  running = undefined;
  remove();
});

/** Only listens: what the start of Lite is about lies below. */
const webServer: StartControlPlane = async ({ port, host }) => {
  const server = createServer((_request, response) => response.end("here"));
  await new Promise<void>((listening, fail) => server.once("error", fail).listen(port, host, listening));
  return { url: "", stop: () => new Promise<void>((closed) => server.close(() => closed())) };
};

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}

async function start(options: Partial<LiteOptions> = {}): Promise<RunningLite> {
  return startLite({
    environment: readEnvironment({ HOME: dirname(paths.home), LEOFLOW_HOME: paths.home, PATH: "/usr/bin:/bin" }),
    port: await freePort(),
    startControlPlane: webServer,
    progress: silentProgress,
    onWarning: () => undefined,
    onFailure: (error) => {
      throw error;
    },
    signal: new AbortController().signal,
    ...options,
  });
}

const postgresPid = () => readPostmasterFile(join(paths.managedPostgres, "data"))?.pid;

it("starts, refuses a second one on the same home, stops all, and starts again with the same password", async () => {
  running = await start();
  const { newPassword, url, config } = running;
  expect(newPassword).toBeDefined();
  expect(await (await fetch(url.replace("localhost", "127.0.0.1"))).text()).toBe("here");
  expect(readFileSync(join(config.workspace, "hello_leoflow.py"), "utf8")).toContain("def hello_leoflow");
  await expect(start()).rejects.toThrow(`Leoflow Lite already runs on ${paths.home} (process ${process.pid}, ${url})`);

  await running.stop();
  await running.stop();
  expect(postgresPid()).toBeUndefined();

  const began = performance.now();
  running = await start();
  expect(performance.now() - began).toBeLessThan(3_000);
  expect(running.newPassword).toBeUndefined();
});

it("does nothing else where the port is taken", async () => {
  const other = createServer();
  await new Promise<void>((listening) => other.listen(0, "127.0.0.1", listening));
  const { port } = other.address() as AddressInfo;
  await expect(start({ port })).rejects.toThrow(`port ${port} is taken by another program`);
  expect(postgresPid()).toBeUndefined();
  await new Promise((closed) => other.close(closed));
  running = await start({ port });
});

it("leaves a workspace that has something in it as it is", async () => {
  const workspace = join(dirname(paths.home), "mine");
  mkdirSync(workspace);
  writeFileSync(join(workspace, "dag.py"), "");
  running = await start({ workspace });
  expect(() => readFileSync(join(workspace, "hello_leoflow.py"))).toThrow("ENOENT");
});

it("stops what it had begun when the control plane fails, and says why", async () => {
  const startControlPlane: StartControlPlane = () => Promise.reject(new Error("no luck"));
  await expect(start({ startControlPlane })).rejects.toThrow("no luck");
  expect(postgresPid()).toBeUndefined();
  running = await start();
});

it("stops what it had begun when it is called off", async () => {
  const abort = new AbortController();
  const reason = new Error("called off");
  const startControlPlane: StartControlPlane = async (options) => {
    abort.abort(reason);
    return webServer(options);
  };
  await expect(start({ startControlPlane, signal: abort.signal })).rejects.toBe(reason);
  expect(postgresPid()).toBeUndefined();
});
