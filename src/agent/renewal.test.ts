import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import type { RawJson } from "../domain/task-execution.ts";
import { processesNow, startTestRuntime, type TestRuntime, untilTrue } from "../../test/support/python.ts";

const made: TestRuntime[] = [];
afterAll(() => Promise.all(made.map(({ runtime }) => runtime.stop())));

async function start(config: Parameters<typeof startTestRuntime>[0]) {
  const test = await startTestRuntime(config);
  made.push(test);
  const plugins = join(test.home, "airflow/plugins");
  mkdirSync(plugins, { recursive: true });
  test.write("d.py", DAG);
  const write = (text: string) => writeFileSync(join(plugins, "shared.py"), text);
  const said = (id: string) => (test.execution.sent("SetXCom", id)[0]?.["value"] as RawJson | undefined)?.text;
  return { test, write, said };
}

const DAG = `
import os, time
from airflow.sdk import DAG, task

with DAG("d"):
    @task
    def t():
        import shared
        while shared.WAITS and not os.path.exists(os.environ["TEST_FLAGS"] + "/go"):
            time.sleep(0.02)
        return shared.NAME

    t()
`;

it("Python is renewed for what starts from now on; what runs goes on in the old one", async () => {
  const { test, write, said } = await start({ idleSeconds: 0.2 });
  const plugin = (name: string, waits: string) => write(`NAME = "${name}"\nWAITS = ${waits}\n`);
  plugin("old", "True");
  await test.runtime.warm();
  const before = test.runtime.basePid();

  const running = test.workload({});
  const ended = test.runtime.runTask(running);
  await test.execution.until(() => test.execution.started.includes(running.id));
  plugin("renewed", "False");
  await test.runtime.renew();
  const next = test.workload({});
  await test.runtime.runTask(next);
  expect(said(next.id)).toBe('"renewed"');
  const after = test.runtime.basePid();
  expect(after).not.toBe(before);

  test.write("../flags/go", "");
  await ended;
  expect(said(running.id)).toBe('"old"');
  expect(test.execution.exits.get(running.id)).toMatchObject({ code: 0, signal: null });
  await untilTrue(() => processesNow(test).length === 1, 20_000);
  expect(processesNow(test)[0]).toContain(`${after} `);
});

it("a Python that does not come up changes nothing", async () => {
  const { test, write, said } = await start({ warmTimeoutMs: 4_000 });
  write('NAME = "old"\nWAITS = False\n');
  await test.runtime.warm();
  const before = test.runtime.basePid();
  write("while True: pass\n");
  await test.runtime.renew();
  expect(test.runtime.basePid()).toBe(before);
  const workload = test.workload({});
  await test.runtime.runTask(workload);
  expect(said(workload.id)).toBe('"old"');
  write("import os\nos._exit(1)\n");
  await test.runtime.renew();
  expect(test.runtime.basePid()).toBe(before);
});
