import { cpSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createLiteHome,
  runDag,
  triggerDag,
  until,
  waitForDag,
  waitForRun,
  xcomOf,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";

let home: LiteHome;
let lite: Lite;
beforeAll(async () => {
  home = await createLiteHome();
  lite = await home.start();
  // The first parse warms Python; what is measured comes after.
  save("warm.py", dagFile("warm", "return 0"));
  await waitForDag(lite.client, "warm");
});
afterAll(() => home.remove());

function save(relPath: string, text: string): void {
  const path = join(home.workspace, relPath);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, text);
}

function dagFile(dagId: string, body: string, imports = ""): string {
  return `from airflow.sdk import dag, task\n${imports}\n@dag(schedule=None)\ndef ${dagId}():\n    @task\n    def only():\n        ${body}\n    only()\n${dagId}()\n`;
}

interface ImportErrorAnswer {
  filename: string;
  stack_trace: string;
}

async function importError(relPath: string): Promise<string | null> {
  const { import_errors: errors } = (await lite.client.call("GET", "/api/v2/importErrors?limit=100")) as {
    import_errors: ImportErrorAnswer[];
  };
  return errors.find(({ filename }) => filename.endsWith(relPath))?.stack_trace ?? null;
}

async function versionsOf(dagId: string): Promise<number[]> {
  const { dag_versions: versions } = (await lite.client.call("GET", `/api/v2/dags/${dagId}/dagVersions`)) as {
    dag_versions: { version_number: number }[];
  };
  return versions.map(({ version_number: number }) => number).sort();
}

const isStale = async (dagId: string) =>
  ((await lite.client.call("GET", `/api/v2/dags/${dagId}/details`)) as { is_stale: boolean }).is_stale;

describe("the workspace", () => {
  it("finishes a run on the code it started with", async () => {
    const body = (word: string) => `import time; time.sleep(1.5); return "${word}"`;
    save("pinned.py", dagFile("pinned", body("old")));
    const runId = await triggerDag(lite.client, "pinned");
    save("pinned.py", dagFile("pinned", body("new")));
    await until("the new version is live", async () => (await versionsOf("pinned")).length === 2);
    await waitForRun(lite.client, "pinned", runId);
    expect(await xcomOf(lite.client, "pinned", runId, "only")).toBe("old");
    const next = await runDag(lite.client, "pinned");
    expect(await xcomOf(lite.client, "pinned", next.runId, "only")).toBe("new");
  });

  it("makes no new version of unchanged content", async () => {
    save("same.py", dagFile("same", "return 1"));
    await runDag(lite.client, "same");
    save("same.py", dagFile("same", "return 1"));
    save("after_same.py", dagFile("after_same", "return 1"));
    await waitForDag(lite.client, "after_same");
    expect(await versionsOf("same")).toEqual([1]);
  });

  it("parses the DAG again when a helper module beside it changes", async () => {
    save("lib/words.py", 'WORD = "first"\n');
    save("lib/__init__.py", "");
    save("helped.py", dagFile("helped", "return WORD", "from lib.words import WORD"));
    const first = await runDag(lite.client, "helped");
    expect(await xcomOf(lite.client, "helped", first.runId, "only")).toBe("first");
    save("lib/words.py", 'WORD = "second"\n');
    await until("the helper's change is live", async () => (await versionsOf("helped")).length === 2);
    const second = await runDag(lite.client, "helped");
    expect(await xcomOf(lite.client, "helped", second.runId, "only")).toBe("second");
  });

  it("shows an import error with its traceback, keeps the last good version, and clears the error", async () => {
    save("broken.py", dagFile("broken", "return 1"));
    await waitForDag(lite.client, "broken");
    save("broken.py", dagFile("broken", "return 1", "import no_such_module_anywhere"));
    await until(
      "the error is shown",
      async () => (await importError("broken.py"))?.includes("no_such_module_anywhere") ?? false,
    );
    expect(await isStale("broken")).toBe(false);
    expect(await versionsOf("broken")).toEqual([1]);
    await expect(triggerDag(lite.client, "broken")).rejects.toThrow("has import errors and cannot be triggered");
    save("broken.py", dagFile("broken", "return 2"));
    await until("the error is gone", async () => (await importError("broken.py")) === null);
    expect((await runDag(lite.client, "broken")).state).toBe("success");
  });

  it("names both files when two define the same DAG", async () => {
    save("twin_a.py", dagFile("twin", "return 1"));
    await waitForDag(lite.client, "twin");
    save("twin_b.py", dagFile("twin", "return 2"));
    await until("the error names both", async () => {
      const error = await importError("twin_b.py");
      return error !== null && error.includes("twin_a.py") && error.includes("twin_b.py");
    });
    expect((await runDag(lite.client, "twin")).state).toBe("success");
  });

  it("refuses a cycle with Airflow's words", async () => {
    save(
      "cyclic.py",
      "from airflow.sdk import DAG\nfrom airflow.providers.standard.operators.empty import EmptyOperator\nwith DAG('cyclic', schedule=None):\n    a = EmptyOperator(task_id='a')\n    b = EmptyOperator(task_id='b')\n    a >> b >> a\n",
    );
    await until(
      "the cycle is shown",
      async () => (await importError("cyclic.py"))?.includes("Cycle detected") ?? false,
    );
  });

  it("deactivates what was in a removed file, and brings it back", async () => {
    save("going/away.py", dagFile("away", "return 1"));
    await waitForDag(lite.client, "away");
    renameSync(join(home.workspace, "going/away.py"), join(home.home, "away.py"));
    await until("the DAG is stale", () => isStale("away"));
    cpSync(join(home.home, "away.py"), join(home.workspace, "going/away.py"));
    await until("the DAG is back", async () => !(await isStale("away")));
    rmSync(join(home.workspace, "going"), { recursive: true });
    await until("the DAG is stale again", () => isStale("away"));
  });

  it("honours .airflowignore at any depth", async () => {
    save("team/.airflowignore", "hidden_*.py\n");
    save("team/hidden_one.py", dagFile("hidden_one", "return 1"));
    save("team/deep/er/seen.py", dagFile("seen", "return 1"));
    await waitForDag(lite.client, "seen");
    await expect(lite.client.call("GET", "/api/v2/dags/hidden_one")).rejects.toThrow("404");
  });

  it("answers Variables and Connections that a file asks for while it is imported", async () => {
    await lite.client.call("POST", "/api/v2/variables", { key: "who", value: "Ada" });
    save("asks.py", dagFile("asks", "return WHO", "from airflow.sdk import Variable\nWHO = Variable.get('who')"));
    const run = await runDag(lite.client, "asks");
    expect(await xcomOf(lite.client, "asks", run.runId, "only")).toBe("Ada");
  });
});
