import { spawn, type ChildProcess } from "node:child_process";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { afterEach, expect, it } from "vitest";
import { isPeer } from "./peer-process.ts";

const cleanUp: (() => void)[] = [];
afterEach(() => cleanUp.splice(0).forEach((end) => end()));

/** The server's side of a connection that `open` makes to the port. */
async function accepted(open: (port: number) => void): Promise<Socket> {
  const server = createServer();
  cleanUp.push(() => server.close());
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const connection = new Promise<Socket>((done) => server.once("connection", done));
  open((server.address() as AddressInfo).port);
  const socket = await connection;
  cleanUp.push(() => socket.destroy());
  return socket;
}

function program(command: string, args: string[]): ChildProcess {
  const child = spawn(command, args, { stdio: "ignore" });
  cleanUp.push(() => child.kill("SIGKILL"));
  return child;
}

it("tells the process that connected from others", async () => {
  const stranger = program("sleep", ["600"]);
  const socket = await accepted((port) => {
    const other = connect(port, "127.0.0.1");
    cleanUp.push(() => other.destroy());
  });
  expect(await isPeer(process.pid, socket)).toBe(true);
  expect(await isPeer(stranger.pid ?? 0, socket)).toBe(false);
});

it("takes what a launcher started for the launcher's", async () => {
  let pid = 0;
  const socket = await accepted((port) => {
    const code = `require("net").connect(${port}, "127.0.0.1").on("close", () => process.exit()).resume()`;
    pid = program("sh", ["-c", `"${process.execPath}" -e '${code}' & wait`]).pid ?? 0;
  });
  expect(await isPeer(pid, socket)).toBe(true);
});
