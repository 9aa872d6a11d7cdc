#!/usr/bin/env node
import { existsSync, readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { StartupDetails, TaskFacts } from "./context.ts";
import { LogChannel } from "./log.ts";
import { isHeeded, runTask, type TaskModule } from "./run.ts";
import { Supervisor } from "./supervisor.ts";

const USAGE = "usage: leoflow-task MODULE --comm=HOST:PORT --logs=HOST:PORT";
const TERMINATED = 143;

/** What an Airflow coordinator starts: runs one task of MODULE for the supervisor that listens at the two addresses. */
async function main(args: readonly string[]): Promise<void> {
  const value = (name: string) => args.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
  const [file] = args.filter((arg) => !arg.startsWith("--"));
  const [comm, logs] = [value("comm"), value("logs")];
  if (file === undefined || comm === undefined || logs === undefined) throw new Error(USAGE);

  const [requests, logSocket] = await Promise.all([open(comm), open(logs)]);
  const supervisor = new Supervisor(requests);
  const log = new LogChannel(logSocket, process.env["AIRFLOW__LOGGING__LOGGING_LEVEL"]);
  log.takeConsole();
  const end = async (code: number) => {
    await log.end();
    process.exit(code);
  };
  // Nobody is there to be told anything.
  requests.once("close", () => process.exit(1));

  const ending = new AbortController();
  process.once("SIGTERM", () => {
    const heeded = isHeeded(ending.signal);
    ending.abort(new Error("the task is being terminated"));
    if (!heeded) void end(TERMINATED);
  });
  const details = (await supervisor.first) as StartupDetails;
  // A promise that nobody waited for fails the task, as an exception in Python's main thread would.
  const stray = new Promise<never>((_, reject) => {
    process.on("uncaughtException", reject);
    process.on("unhandledRejection", reject);
  });
  stray.catch((error: unknown) => log.write("critical", "task", "An error outside of the task's function", { error }));
  const ran = runTask(details, moduleOf(file), supervisor, log, ending.signal);
  await Promise.race([ran, stray]).then(
    () => end(ending.signal.aborted ? TERMINATED : 0),
    () => end(1),
  );
}

function open(address: string): Promise<Socket> {
  const at = address.lastIndexOf(":");
  return new Promise((done, fail) => {
    const socket = connect({ host: address.slice(0, at), port: Number(address.slice(at + 1)), noDelay: true });
    socket.once("connect", () => done(socket.on("error", () => socket.destroy())));
    socket.once("error", fail);
  });
}

/** Beside MODULE, `MODULE.json` may tell what Python's runner knows from the DAG file. */
function moduleOf(file: string): TaskModule {
  const path = resolve(file);
  const about = `${path}.json`;
  const known = existsSync(about)
    ? (JSON.parse(readFileSync(about, "utf8")) as {
        source: string;
        dags: Record<string, { params: Record<string, unknown>; tasks: Record<string, TaskFacts> }>;
      })
    : null;
  return {
    name: known?.source ?? file,
    load: () => import(pathToFileURL(path).href) as Promise<Record<string, unknown>>,
    facts: (dagId, taskId) => {
      const dag = known?.dags[dagId];
      return { params: dag?.params ?? {}, ...dag?.tasks[taskId] };
    },
  };
}

await main(process.argv.slice(2));
