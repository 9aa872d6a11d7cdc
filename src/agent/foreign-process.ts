import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { TASK_CONNECTIONS } from "./dag-zygote.ts";
import { delay } from "./delay.ts";
import type { ForkedChild } from "./forked-child.ts";
import { whenClosed } from "./frames.ts";
import { isPeer } from "./peer-process.ts";
import type { ZygoteControl } from "./zygote-control.ts";

export interface ForeignProgram {
  /** Without `--comm` and `--logs`. */
  command: readonly string[];
  /** Folder of the version's files. */
  directory: string;
  dagId: string;
  runId: string;
  taskId: string;
}

const MAX_LAST_WORDS = 4000;
const LAST_WORDS_MS = 1000;

/**
 * Starts a task in another language as Airflow's subprocess coordinators do (airflow.sdk.coordinators, 3.3.2): the program is told
 * two ports of 127.0.0.1 and connects to both before the time is over; from then on it is a child like those that run Python. The
 * base zygote forks it, so that it dies with us and is killed with all it started.
 */
export async function startForeign(
  control: ZygoteControl,
  { command, ...about }: ForeignProgram,
  timeoutMs: number,
): Promise<ForkedChild> {
  const [comm, logs] = await Promise.all([listen(), listen()]);
  const [program = ""] = command;
  let child: ForkedChild | null = null;
  let timer: NodeJS.Timeout | null = null;
  try {
    const addresses = [`--comm=${addressOf(comm)}`, `--logs=${addressOf(logs)}`];
    const started = control.fork({ op: "exec", ...about, arguments: [...command, ...addresses] }, TASK_CONNECTIONS);
    child = started;
    const take = (server: Server, kind: string) =>
      server.on("connection", (socket: Socket) => {
        socket.on("error", () => socket.destroy());
        void started.forked
          .then((pid) => isPeer(pid, socket))
          .then((isOurs) => (isOurs ? started.addSocket(kind, socket) : socket.destroy()));
      });
    take(comm, "requests");
    take(logs, "logs");
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`did not connect within ${timeoutMs / 1000} s`)), timeoutMs);
    });
    await Promise.race([started.connected, late]);
    return started;
  } catch (error) {
    child?.kill("SIGKILL");
    const words = child ? await lastWords(child) : "";
    child?.destroySockets();
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`${program} ${reason}${words === "" ? "" : `\n${words}`}`, { cause: error });
  } finally {
    if (timer) clearTimeout(timer);
    comm.close();
    logs.close();
  }
}

function listen(): Promise<Server> {
  const server = createServer({ pauseOnConnect: true, noDelay: true });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: "127.0.0.1", port: 0 }, () => resolve(server));
  });
}

function addressOf(server: Server): string {
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** What a program that is gone, or about to be, wrote to its standard error. */
async function lastWords(child: ForkedChild): Promise<string> {
  let socket: Socket;
  try {
    socket = child.socket("stderr");
  } catch {
    return "";
  }
  let words = "";
  socket.setEncoding("utf8");
  socket.on("data", (text: string) => (words = (words + text).slice(-MAX_LAST_WORDS)));
  socket.resume();
  await Promise.race([whenClosed(socket), delay(LAST_WORDS_MS)]);
  return words.trim();
}
