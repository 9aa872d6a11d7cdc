import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { testKit, testPython } from "../../test/support/python.ts";
import { until } from "../../test/support/until.ts";
import { AgentSocket } from "./agent-socket.ts";
import { BaseZygote } from "./base-zygote.ts";
import { startForeign } from "./foreign-process.ts";
import { whenClosed } from "./frames.ts";
import type { ZygoteControl } from "./zygote-control.ts";

const folder = mkdtempSync(join(tmpdir(), "leoflow-foreign-"));
const agent = new AgentSocket(folder);
const zygote = new BaseZygote(
  testKit,
  { agent },
  {
    python: testPython(),
    runtimeDir: resolve(import.meta.dirname, "../../python"),
    cwd: folder,
    env: { PATH: process.env["PATH"] ?? "", HOME: folder, AIRFLOW_HOME: folder, GIVEN: "to the task" },
  },
);
let control: ZygoteControl;
beforeAll(async () => {
  await agent.start();
  control = await zygote.control();
});
afterAll(async () => {
  await zygote.stop();
  await agent.stop();
  rmSync(folder, { recursive: true, force: true });
});

const start = (command: readonly string[], timeoutMs = 60_000) =>
  startForeign(control, { command, directory: folder, dagId: "d", runId: "r", taskId: "t" }, timeoutMs);

/** A program in a launcher, as a JVM has one; JavaScript that gets the connections `comm` and `logs`. */
const program = (code: string) => {
  const connections = `const [comm, logs] = process.argv.slice(1).map((arg) => require("net").connect(arg.split(":")[1], "127.0.0.1"));`;
  return ["sh", "-c", `"${process.execPath}" -e '${connections} ${code}' -- "$@"`, "launcher"];
};

it("gives a program its environment and its connections, and tells how it ended", async () => {
  const child = await start(program('comm.once("data", () => comm.end(process.env.GIVEN, () => process.exit(7)));'));
  const text: string[] = [];
  const requests = child.socket("requests");
  requests.setEncoding("utf8").on("data", (chunk: string) => text.push(chunk));
  requests.resume();
  requests.write("go on");
  await whenClosed(requests);
  expect(text.join("")).toBe("to the task");
  expect(await child.exited).toEqual({ code: 7, signal: null });
  child.destroySockets();
});

it("says why a program did not connect, with its last words", async () => {
  await expect(start(["sh", "-c", "echo no such thing >&2; exit 3"])).rejects.toThrow(
    "sh ended before it connected: exit code 3\nno such thing",
  );
  await expect(start(["no-such-program-anywhere"])).rejects.toThrow(/ended before it connected[^]*FileNotFoundError/);
});

it("ends a program that takes too long, and lets nobody else have its connections", async () => {
  const told = join(folder, "told");
  const late = start(["sh", "-c", `echo "$0" $$ > ${told}.new; mv ${told}.new ${told}; sleep 600`], 3000);
  const failed = expect(late).rejects.toThrow("sh did not connect within 3 s");
  await until("the program runs", () => Promise.resolve(existsSync(told)));
  const [address = "", pid] = readFileSync(told, "utf8").trim().split(" ");
  const intruder = connect(Number(address.split(":")[1]), "127.0.0.1");
  let received = 0;
  intruder.on("error", () => undefined).on("data", ({ length }) => (received += length));
  await whenClosed(intruder);
  await failed;
  expect(received).toBe(0);
  await until("it is gone", () => Promise.resolve(!existsSync(`/proc/${pid}`)));
});
