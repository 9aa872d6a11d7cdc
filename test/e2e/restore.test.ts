import { execFile } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  createLiteHome,
  runDag,
  runPath,
  taskInstances,
  triggerDag,
  until,
  waitForDag,
  waitForRun,
  xcomOf,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";

// A user's Leoflow, backed up while it works, restored on another machine where nothing is: it goes on there.

let there: LiteHome;
let here: LiteHome;
beforeAll(async () => {
  [there, here] = [await createLiteHome(), await createLiteHome()];
});
afterAll(() => Promise.all([there.remove(), here.remove()]));

const homeOf = ({ home }: LiteHome) => ({ HOME: dirname(home), LEOFLOW_HOME: home });
const run = promisify(execFile);
const leoflow = (of: LiteHome, ...args: string[]) =>
  run(process.execPath, [join(import.meta.dirname, "../../bin/leoflow"), ...args], {
    env: { ...process.env, ...homeOf(of) },
  });

function save(body: string): void {
  const text =
    "from airflow.sdk import dag, task, Connection, Variable\nfrom helper import VERSION\n" +
    `@dag(schedule=None)\ndef shop():\n    @task\n    def only():\n        ${body}\n    only()\nshop()\n`;
  writeFileSync(join(there.workspace, "shop.py"), text);
}

const versions = async ({ client }: Lite) =>
  ((await client.call("GET", "/api/v2/dags/shop/dagVersions")) as { total_entries: number }).total_entries;

it("a restored home goes on where the backed-up one was", { timeout: 180_000 }, async () => {
  writeFileSync(join(there.workspace, "helper.py"), "VERSION = 'one'\n");
  save("return VERSION");
  const old = await there.start({ env: homeOf(there) });
  await waitForDag(old.client, "shop");
  const { runId: first } = await runDag(old.client, "shop");
  expect(await xcomOf(old.client, "shop", first, "only")).toBe("one");
  await old.client.call("POST", "/api/v2/connections", {
    connection_id: "till",
    conn_type: "http",
    host: "till.example",
    password: "s3cret",
  });
  await old.client.call("POST", "/api/v2/variables", { key: "open", value: "yes" });
  writeFileSync(join(there.workspace, "helper.py"), "VERSION = 'two'\n");
  save("return [VERSION, Connection.get('till').password, Variable.get('open')]");
  await until("the second version is there", async () => (await versions(old)) === 2);
  // Runs while the backup is made; should it be run again, it ends.
  save(
    "import time\n        from airflow.sdk import get_current_context\n" +
      "        if get_current_context()['ti'].try_number == 1:\n            time.sleep(600)",
  );
  await until("the third version is there", async () => (await versions(old)) === 3);
  const running = await triggerDag(old.client, "shop");
  await until("it runs", async () => (await taskInstances(old.client, "shop", running))[0]?.state === "running");
  save("return [VERSION, Connection.get('till').password, Variable.get('open')]");
  const file = join(dirname(there.home), "backup.tar.gz");
  await leoflow(there, "lite", "backup", "--output", file);
  const token = (await old.client.call("POST", "/auth/token", {
    username: "admin@leoflow.local",
    password: "end-to-end-password",
  })) as { access_token: string };
  await old.stop();

  const { stdout } = await leoflow(here, "lite", "restore", "-i", file);
  expect(stdout).toContain("✓ restore complete — run `leoflow lite` to start.\n");
  expect(stdout).toContain(`✓ workspace restored to ${here.workspace} (`);
  // The other machine is gone: nothing may lead there.
  rmSync(there.workspace, { recursive: true });

  // Logs in with the password of the backup; another in the environment counts only for a first start.
  const lite = await here.start({ env: { ...homeOf(here), LEOFLOW_ADMIN_PASSWORD: "another password" } });
  const session = await fetch(`${lite.base}/api/v2/dags`, {
    headers: { authorization: `Bearer ${token.access_token}` },
  });
  expect(session.status).toBe(200);
  // As after a power cut: failed, or run again.
  const lost = await waitForRun(lite.client, "shop", running);
  expect(["failed", "success"]).toContain(lost.state);

  await until("the file is parsed", async () => (await versions(lite)) >= 3);
  const fresh = await runDag(lite.client, "shop");
  expect(fresh.state).toBe("success");
  expect(await xcomOf(lite.client, "shop", fresh.runId, "only")).toEqual(["two", "s3cret", "yes"]);

  // An old run goes on with the sources it had.
  await lite.client.call("POST", "/api/v2/dags/shop/clearTaskInstances", {
    dry_run: false,
    only_failed: false,
    dag_run_id: first,
    task_ids: ["only"],
    reset_dag_runs: true,
  });
  await until("it was cleared", async () => (await taskInstances(lite.client, "shop", first))[0]?.try_number === 2);
  expect((await waitForRun(lite.client, "shop", first)).state).toBe("success");
  expect(await xcomOf(lite.client, "shop", first, "only")).toBe("one");
  expect(await lite.client.call("GET", runPath("shop", first))).toMatchObject({ state: "success" });
  await lite.stop();
});
