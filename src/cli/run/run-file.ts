import { existsSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { FINISHED_STATES, isFinished } from "../../domain/states.ts";
import { UserError } from "../../kit/user-error.ts";
import { readServerSettings } from "../../lite/config-glance.ts";
import { findLockHolder } from "../../lite/home-lock.ts";
import type { StartControlPlane } from "../../lite/start.ts";
import type { CommandContext } from "../command-context.ts";
import { printTry } from "../remote/logs.ts";
import { confOf, printJson } from "../remote/remote-command.ts";
import { apiPath, homeServer, jsonWith, ServerAnswer, type Server } from "../remote/server.ts";
import { paint, seconds } from "../terminal-progress.ts";
import { LiveLines } from "./live-lines.ts";
import type { RunOptions } from "./run.ts";
import { TaskTree, type TaskNow, type TreeNode } from "./task-tree.ts";

const REDRAW_MS = 100;
/** A run in which nothing happens for so long is asked why. */
const QUIET_MS = 2_000;

interface Asked {
  path: string;
  options: RunOptions;
  loadControlPlane: () => Promise<StartControlPlane>;
}

interface Run {
  dag_id: string;
  dag_run_id: string;
}

interface Line extends Partial<Run> {
  tasks?: TaskNow[];
  state?: string;
}

/** Runs a DAG file's DAG on the Leoflow that is up, or on one of its own. Throws UserError where it failed. */
export async function runFile(context: CommandContext, { path, options, loadControlPlane }: Asked): Promise<void> {
  const file = dagFileOf(path);
  const conf = await confOf(options);
  const fields = { path: file, dag_id: options.dag, logical_date: options.logicalDate ?? null };
  const body = jsonWith(fields, conf === undefined ? {} : { conf });
  const { server, isOwn, stop } = await openServer(context, loadControlPlane);
  try {
    await follow(context, { server, path, body, options, isOwn });
  } finally {
    await stop();
  }
}

/** Throws UserError for what cannot be a DAG file. */
function dagFileOf(path: string): string {
  const full = resolve(path);
  if (!existsSync(full)) {
    throw new UserError(`there is no ${path}`, {
      fix: "name a DAG file, or a folder with a dag.py in it",
      exitCode: 2,
    });
  }
  if (!statSync(full).isDirectory()) return full;
  const file = join(full, "dag.py");
  if (existsSync(file)) return file;
  throw new UserError(`the folder ${path} has no dag.py`, { fix: "name the DAG file that you mean", exitCode: 2 });
}

/** `isOwn`: it ends with the command. */
async function openServer(
  context: CommandContext,
  loadControlPlane: () => Promise<StartControlPlane>,
): Promise<{ server: Server; isOwn: boolean; stop: () => Promise<void> }> {
  const { paths, environment, signal } = context;
  for (;;) {
    const holder = await findLockHolder(paths.lock);
    const settings = await readServerSettings(paths, environment);
    const { jwt_secret, admin_email = "admin@leoflow.local" } = settings;
    if (holder?.living && holder.url !== undefined && jwt_secret !== undefined) {
      const server = homeServer(holder.url, { admin_email, jwt_secret }, signal);
      return { server, isOwn: false, stop: () => Promise.resolve() };
    }
    const { startOwn } = await import("./own-server.ts");
    const own = await startOwn(context, loadControlPlane);
    if (own) return { server: homeServer(own.url, own.config, signal), isOwn: true, stop: () => own.stop() };
  }
}

interface Followed {
  server: Server;
  path: string;
  body: string;
  options: RunOptions;
  isOwn: boolean;
}

async function follow(context: CommandContext, { server, path, body, options, isOwn }: Followed): Promise<void> {
  const { terminal, signal } = context;
  const began = performance.now();
  const isLive = terminal.isTTY && !options.json;
  const isSilent = options.json ?? false;
  const tree = new TaskTree(terminal);
  const live = new LiveLines(terminal);
  let waiting: string[] = [];
  let changed = performance.now();
  let run: Run | undefined;
  let state: string | undefined;
  const draw = () => {
    const lines = tree.lines(Math.max(3, (process.stdout.rows || 24) - 3 - waiting.length), Date.now());
    live.draw([...lines, ...waiting.map((line) => paint(terminal, "33", `  ${line}`))]);
  };
  const askWhy = async () => {
    if (!run || performance.now() - changed < QUIET_MS || tree.instances.some((task) => task.state === "running"))
      return;
    changed = performance.now();
    const before = waiting.join();
    const why = await server.get<{ reasons: { message: string }[] }>(
      apiPath`/api/leoflow/why/${run.dag_id}/${run.dag_run_id}`,
    );
    waiting = why.reasons.slice(0, 3).map(({ message }) => message);
    if (!isLive && !isSilent && waiting.join() !== before)
      terminal.write(waiting.map((line) => `  ${line}\n`).join(""));
  };
  const timers = [
    setInterval(() => isLive && run && draw(), REDRAW_MS),
    setInterval(() => void askWhy().catch(() => undefined), QUIET_MS / 4),
  ];
  try {
    const lines = server.lines("/api/leoflow/file-runs", {}, { body });
    for await (const line of lines as AsyncGenerator<Line>) {
      changed = performance.now();
      if (line.dag_id !== undefined && line.dag_run_id !== undefined) {
        run = { dag_id: line.dag_id, dag_run_id: line.dag_run_id };
        if (!isSilent) terminal.write(headline(context, server, run, isOwn));
        tree.nodes = await server.get<TreeNode[]>(apiPath`/ui/grid/structure/${run.dag_id}`);
      }
      if (line.tasks) {
        tree.take(line.tasks);
        waiting = [];
        const ended = line.tasks.filter((task) => isFinished(task.state));
        if (!isLive && !isSilent) terminal.write(ended.map((task) => `${tree.ended(task)}\n`).join(""));
      }
      state = line.state ?? state;
      if (isLive) draw();
    }
    live.keep();
  } catch (error) {
    throw await asUserError(error, path, signal);
  } finally {
    for (const timer of timers) clearInterval(timer);
  }
  if (!run || state === undefined) {
    throw new UserError(`${server.url} stopped while ${path} was running`, {
      fix: "look into its log, and run it again",
    });
  }
  const { instances } = tree;
  if (options.json) printJson(terminal, { ...run, state, tasks: instances });
  else {
    await printLogs(context, { server, run, instances, all: options.logs ?? false });
    terminal.write(`\n${summary(context, run, { state, instances, began })}\n`);
  }
  if (state !== "success") process.exitCode = 1;
}

function headline({ terminal }: CommandContext, server: Server, run: Run, isOwn: boolean): string {
  const page = isOwn ? "" : `  ${server.url}${apiPath`/dags/${run.dag_id}/runs/${run.dag_run_id}`}`;
  return `\n  ${paint(terminal, "1", run.dag_id)}  ${run.dag_run_id}${paint(terminal, "2", page)}\n\n`;
}

function summary(
  { terminal }: CommandContext,
  run: Run,
  { state, instances, began }: { state: string; instances: readonly TaskNow[]; began: number },
): string {
  const states = [
    ...FINISHED_STATES,
    ...new Set(instances.map((task) => task.state).filter((one) => !isFinished(one))),
  ];
  const told = states
    .map((one) => [one ?? "not run", instances.filter((task) => task.state === one).length] as const)
    .flatMap(([name, count]) => (count === 0 ? [] : `${count} ${name.replaceAll("_", " ")}`))
    .join(", ");
  const [mark, colour, word] = state === "success" ? ["✓", "32", "succeeded"] : ["✗", "31", "failed"];
  return `  ${paint(terminal, colour, `${mark} ${run.dag_id} ${word}`)} in ${seconds(began)}${told === "" ? "" : ` (${told})`}`;
}

/** Of the last try of each that failed, or of all. */
async function printLogs(
  { terminal }: CommandContext,
  { server, run, instances, all }: { server: Server; run: Run; instances: readonly TaskNow[]; all: boolean },
): Promise<void> {
  for (const task of instances) {
    if (task.try_number === 0 || task.start_date === null || (!all && task.state !== "failed")) continue;
    const index = task.map_index < 0 ? "" : `[${task.map_index}]`;
    terminal.write(`\n  ${paint(terminal, "1", `log of ${task.task_id}${index}, try ${task.try_number}`)}\n\n`);
    const path = apiPath`/api/v2/dags/${run.dag_id}/dagRuns/${run.dag_run_id}/taskInstances/${task.task_id}/logs/${task.try_number}`;
    await printTry({ server, terminal }, path, task.map_index, {});
  }
}

/** What a server refuses a file for is for who wrote it. */
async function asUserError(error: unknown, path: string, signal: AbortSignal): Promise<unknown> {
  if (signal.aborted || !(error instanceof ServerAnswer)) return error;
  // What is wrong with a request takes one line; Python's traces take more.
  if (error.status === 422 && error.detail.includes("\n")) {
    const trace = error.detail.trimEnd();
    return new UserError(`${path} cannot be imported: ${trace.split("\n").at(-1) ?? ""}\n\n${trace}\n`, {
      fix: "mend the file and run it again",
    });
  }
  const several = error.status === 400 && error.detail.includes("several DAGs");
  const taken = error.status === 409;
  const fix = several ? "`--dag ID` chooses" : taken ? "run that file, or give this DAG another id" : undefined;
  return new UserError(error.detail, fix === undefined ? {} : { fix });
}
