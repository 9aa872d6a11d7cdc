import type { Command } from "commander";
import { setTimeout as sleep } from "node:timers/promises";
import { isFinished, type TaskInstanceState } from "../../domain/states.ts";
import { UserError } from "../../kit/user-error.ts";
import { logText, type LogEvent } from "./log-lines.ts";
import { addRemoteCommand, runRemote, wholeNumber, type Remote, type RemoteOptions } from "./remote-command.ts";
import { apiPath } from "./server.ts";

interface LogOptions extends RemoteOptions {
  try?: string;
  mapIndex?: string;
  follow?: boolean;
}

interface Place {
  dagId: string;
  runId: string;
  taskId: string;
  mapIndex: number;
}

interface Instance {
  state: TaskInstanceState | null;
  try_number: number;
}

interface Page {
  content: LogEvent[];
  continuation_token: string | null;
}

const LOOK_MS = 500;

/** `leoflow runs logs` and `leoflow tasks logs` are one command. */
export function addLogsCommand(parent: Command, group: string): void {
  addRemoteCommand(parent, "logs <dag> <run> <task>", {
    description:
      "Print the log of a task in a run. With -f it goes on to the end of the task's last try; Ctrl-C ends it with 130.",
    json: "Airflow's log events, one a line",
    examples: [
      `leoflow ${group} logs my_dag manual__mine load`,
      `leoflow ${group} logs my_dag manual__mine load --map-index 3 --try 1`,
      `leoflow ${group} logs my_dag manual__mine load -f`,
    ],
  })
    .option("--try <number>", "of this try; the latest without it")
    .option("--map-index <number>", "of one instance of a mapped task")
    .option("-f, --follow", "wait for what is still written")
    .action((dag: string, run: string, task: string, options: LogOptions) =>
      runRemote(options, (remote) => {
        const mapIndex = options.mapIndex === undefined ? -1 : wholeNumber("--map-index", options.mapIndex);
        return printLogs(remote, { dagId: dag, runId: run, taskId: task, mapIndex }, options);
      }),
    );
}

async function printLogs(remote: Remote, place: Place, options: LogOptions): Promise<void> {
  const { server } = remote;
  const { dagId, runId, taskId, mapIndex } = place;
  const asked = options.try === undefined ? undefined : wholeNumber("--try", options.try, 1);
  const path = apiPath`/api/v2/dags/${dagId}/dagRuns/${runId}/taskInstances/${taskId}`;
  const look = () => server.get<Instance>(mapIndex < 0 ? path : path + apiPath`/${mapIndex}`);
  let printed = 0;
  for (;;) {
    const { state, try_number: latest } = await look();
    const next = asked ?? latest;
    // After a failure that is tried again the latest try stays the printed one until the next begins.
    if (next > printed && next <= latest) {
      await printTry(remote, path + apiPath`/logs/${next}`, mapIndex, options);
      printed = next;
      if (options.follow && asked === undefined) continue;
      return;
    }
    if (isFinished(state) && printed > 0) return;
    if (isFinished(state) || !options.follow) throw notStarted(place, asked, state);
    await sleep(LOOK_MS);
  }
}

/** Prints the log of one try, whose address is `path`. */
export async function printTry(
  { server, terminal }: Pick<Remote, "server" | "terminal">,
  path: string,
  mapIndex: number,
  options: LogOptions,
): Promise<void> {
  let token: string | undefined;
  for (;;) {
    const page = await server.get<Page>(path, { map_index: mapIndex, token });
    for (const entry of page.content) {
      terminal.write(options.json ? `${JSON.stringify(entry)}\n` : logText(terminal, entry));
    }
    if (page.continuation_token === null) return;
    token = page.continuation_token;
    if (page.content.length > 0) continue;
    if (!options.follow) return;
    await sleep(LOOK_MS);
  }
}

function notStarted({ dagId, runId, taskId }: Place, asked: number | undefined, state: TaskInstanceState | null) {
  const what = asked === undefined ? `task ${taskId}` : `try ${asked} of task ${taskId}`;
  const waits = `-f waits for it; \`leoflow why ${dagId} ${runId} ${taskId}\` says what holds it`;
  return new UserError(
    `${what} has no log: it ${isFinished(state) ? "never started" : "has not started"} (${state ?? "no state"})`,
    {
      fix: isFinished(state) ? "look at the task's state with `leoflow tasks states`" : waits,
    },
  );
}
