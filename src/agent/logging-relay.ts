import { spawn } from "node:child_process";
import type { Socket } from "node:net";
import { encodeReply } from "../domain/task-frame.ts";
import type { AgentSocket } from "./agent-socket.ts";

/**
 * Opens a logs connection, sends the reply frame (argv, hex) with the connection's descriptor over fd 3, and ends. Node has
 * no sendmsg(SCM_RIGHTS); a bare Python needs 15 ms for it.
 */
const RELAY = `
import socket, sys
logs = socket.socket(socket.AF_UNIX)
logs.connect(sys.argv[1])
logs.sendall(("logs " + sys.argv[2] + "\\n").encode())
peer = socket.socket(fileno=3)
socket.send_fds(peer, [bytes.fromhex(sys.argv[3])], [logs.fileno()])
`;

const TIMEOUT_MS = 5000;

/**
 * Answers `ResendLoggingFD`: a process that took over the task's connection (run_as_user, virtualenv operators) gets a
 * descriptor to log to. `onLogs` takes what is written there.
 */
export async function resendLoggingFd(
  agent: AgentSocket,
  python: string,
  requestId: number,
  requests: Socket,
  onLogs: (socket: Socket) => void,
): Promise<void> {
  const connected = new Promise<Socket>((resolve, reject) => {
    const token = agent.expect((_, socket) => settle(() => resolve(socket)));
    const settle = (how: () => void): void => {
      clearTimeout(timer);
      agent.forget(token);
      how();
    };
    const timer = setTimeout(() => settle(() => reject(new Error("the logging relay did not connect"))), TIMEOUT_MS);
    const frame = encodeReply(requestId, { body: { type: "SentFDs", fds: [0] } });
    const relay = spawn(python, ["-I", "-S", "-c", RELAY, agent.path, token, frame.toString("hex")], {
      stdio: ["ignore", "ignore", "ignore", requests],
    });
    // Node stops reading a socket that it lends to a child.
    requests.resume();
    relay.once("error", (error) => settle(() => reject(error)));
  });
  onLogs(await connected);
}
