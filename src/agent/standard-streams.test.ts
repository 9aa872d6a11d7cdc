import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startTestRuntime, type TestRuntime } from "../../test/support/python.ts";
import { taskLogPath } from "../domain/workload.ts";

let python: TestRuntime;
beforeAll(async () => {
  python = await startTestRuntime();
  python.write(
    "d.py",
    `
import logging, os, subprocess, sys
from airflow.sdk import dag, task

@dag(schedule=None)
def d():
    @task
    def t():
        log = logging.getLogger("mine")
        for number in range(300):
            print("printed", number)
            log.warning("logged %d", number)
        sys.stderr.write("to stderr, in two ")
        sys.stderr.write("parts\\nand two lines\\n")
        print("umlaut \\u00e4 and \\U0001f600")
        subprocess.run(["echo", "from a child"], check=True)
        print("around the stream", file=os.fdopen(1, "w", closefd=False))
        assert sys.stdout.fileno() == 1 and not sys.stdout.isatty() and sys.stdout.encoding.lower() == "utf-8"
        print("without an end", end="", flush=True)
    t()
d()
`,
  );
});
afterAll(async () => {
  await python.runtime.stop();
  rmSync(python.home, { recursive: true, force: true });
});

it("keeps what a task prints in order with what it logs", async () => {
  const workload = python.workload({});
  await python.runtime.runTask(workload);
  const lines = readFileSync(join(python.home, "logs", taskLogPath(workload, 1)), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { event: string; level: string; logger: string; timestamp: string });
  const numbered = lines.map(({ event }) => event).filter((event) => /^(printed|logged) \d+$/.test(event));
  expect(numbered).toEqual(
    Array.from({ length: 300 }, (_, number) => [`printed ${number}`, `logged ${number}`]).flat(),
  );
  const line = (event: string) => lines.find((one) => one.event === event);
  expect(line("printed 0")).toMatchObject({ level: "info", logger: "task.stdout" });
  expect(line("printed 0")?.timestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  expect(line("to stderr, in two parts")).toMatchObject({ level: "error", logger: "task.stderr" });
  for (const event of ["and two lines", "umlaut ä and 😀", "from a child", "around the stream", "without an end"]) {
    expect([event, line(event)?.event]).toEqual([event, event]);
  }
});
