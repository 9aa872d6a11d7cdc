import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import type { RawJson } from "../domain/task-execution.ts";
import { processesNow, startTestRuntime, type TestRuntime, untilTrue } from "../../test/support/python.ts";

let test: TestRuntime;
afterAll(() => test.runtime.stop());

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
  test = await startTestRuntime({ idleSeconds: 0.2 });
  const plugins = join(test.home, "airflow/plugins");
  const plugin = (name: string, waits: string) =>
    writeFileSync(join(plugins, "shared.py"), `NAME = "${name}"\nWAITS = ${waits}\n`);
  mkdirSync(plugins, { recursive: true });
  plugin("old", "True");
  test.write("d.py", DAG);
  await test.runtime.warm();
  const before = test.runtime.basePid();
  const said = (id: string) => (test.execution.sent("SetXCom", id)[0]?.["value"] as RawJson | undefined)?.text;

  const running = test.workload({});
  const ended = test.runtime.runTask(running);
  await test.execution.until(() => test.execution.started.includes(running.id));
  plugin("renewed", "False");
  test.runtime.renew();
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
