import { execFileSync } from "node:child_process";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cli } from "../support/cli.ts";
import { createLiteHome, logOf, runDag, until, waitForDag, type Lite, type LiteHome } from "../support/lite.ts";

// DAG files in .zip archives. What is expected was recorded from Airflow 3.3.2 with the same archives in its DAGs folder.

const GREETS = `from airflow.sdk import DAG, task
import zip_helpers
from zip_package.deep import WORD

with DAG("zip_greets", schedule=None):
    @task
    def greet():
        from zip_late import late
        print("said", zip_helpers.hello(), WORD, late())
    greet()
`;
const dagOf = (dagId: string) => `from airflow.sdk import DAG\nwith DAG("${dagId}", schedule=None) as dag: pass\n`;
const PACKED = {
  "greets.py": GREETS,
  "second.py": dagOf("zip_second"),
  "zip_helpers.py": 'def hello():\n    return "hello from the zip"\n',
  "zip_late.py": 'def late():\n    return "late"\n',
  "zip_package/__init__.py": "",
  "zip_package/deep.py": 'WORD = "deep"\n',
  "zip_package/not_at_root.py": dagOf("zip_not_at_root"),
};

let home: LiteHome;
let lite: Lite;
beforeAll(async () => {
  home = await createLiteHome();
  writeFileSync(join(home.workspace, ".airflowignore"), "ignored.zip\n");
  pack("ignored.zip", { "dag.py": dagOf("zip_ignored") });
  pack("packed.zip", PACKED);
  pack("partly.zip", {
    "good.py": dagOf("zip_good"),
    "broken.py": "from airflow.sdk import DAG\nimport nowhere_at_all\n",
  });
  pack("data.zip", { "rows.csv": "1,2\n" });
  writeFileSync(join(home.workspace, "torn.zip"), "PK\x03\x04");
  lite = await home.start();
  for (const dagId of ["zip_greets", "zip_second", "zip_good"]) await waitForDag(lite.client, dagId);
});
afterAll(() => home.remove());

/** Puts an archive into the workspace, or another folder, in one step. Returns its path. */
function pack(name: string, files: Record<string, string>, folder = home.workspace): string {
  const program =
    "import json, sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as archive:\n  for name, text in json.load(sys.stdin).items(): archive.writestr(name, text)";
  const made = join(dirname(home.home), name);
  execFileSync(join(home.home, "venv/bin/python"), ["-c", program, made], { input: JSON.stringify(files) });
  const path = join(folder, name);
  renameSync(made, path);
  return path;
}

const dags = async () =>
  (
    (await lite.client.call("GET", "/api/v2/dags?order_by=dag_id")) as {
      dags: { dag_id: string; fileloc: string; relative_fileloc: string; has_import_errors: boolean }[];
    }
  ).dags;

async function errors(): Promise<Record<string, string>> {
  const { import_errors: all } = (await lite.client.call("GET", "/api/v2/importErrors")) as {
    import_errors: { filename: string; stack_trace: string }[];
  };
  return Object.fromEntries(
    all.map(({ filename, stack_trace: trace }) => [filename, trace.trim().split("\n").at(-1)]),
  ) as Record<string, string>;
}

const sourceOf = async (dagId: string) =>
  ((await lite.client.call("GET", `/api/v2/dagSources/${dagId}`)) as { content: string }).content;

describe("a .zip of DAG files", () => {
  it("has the DAGs, places, source and errors that Airflow gives it", async () => {
    const place = (dagId: string, relPath: string) => ({
      dag_id: dagId,
      fileloc: join(home.workspace, relPath),
      relative_fileloc: relPath,
      has_import_errors: false,
    });
    const found = (await dags()).map(({ dag_id, fileloc, relative_fileloc, has_import_errors }) => ({
      ...{ dag_id, fileloc, relative_fileloc, has_import_errors },
    }));
    expect(found).toEqual([
      place("zip_good", "partly.zip/good.py"),
      place("zip_greets", "packed.zip/greets.py"),
      place("zip_second", "packed.zip/second.py"),
    ]);
    expect(await sourceOf("zip_greets")).toBe(GREETS);
    await until("all is parsed", async () => Object.keys(await errors()).length === 2);
    expect(await errors()).toEqual({
      "partly.zip/broken.py": "ModuleNotFoundError: No module named 'nowhere_at_all'",
      "torn.zip": "torn.zip cannot be read as a zip archive: File is not a zip file",
    });
  });

  it("runs its tasks, also by `leoflow run`", async () => {
    const run = await runDag(lite.client, "zip_greets");
    expect(run.state).toBe("success");
    expect(await logOf(lite.client, "zip_greets", run.runId, "greet")).toContain("said hello from the zip deep late");
    const told = await new Cli(home, lite).leoflow(`run ${home.workspace}/packed.zip --dag zip_greets --logs`);
    expect(told).toMatchObject({ code: 0 });
    expect(told.out).toContain("said hello from the zip deep late");
    // As a bundle.
    const elsewhere = { ...PACKED, "greets.py": GREETS.replace("zip_greets", "zip_elsewhere") };
    const outside = pack("elsewhere.zip", elsewhere, dirname(home.home));
    const tried = await new Cli(home, lite).leoflow(`run ${outside} --dag zip_elsewhere --logs`);
    expect(tried).toMatchObject({ code: 0 });
    expect(tried.out).toContain("said hello from the zip deep late");
  });

  it("is taken anew when it changes, and its DAGs leave with what defined them", async () => {
    const { "second.py": _, ...rest } = PACKED;
    pack("packed.zip", { ...rest, "zip_helpers.py": 'def hello():\n    return "another word"\n' });
    await until("zip_second is gone", async () => !(await dags()).some(({ dag_id: dagId }) => dagId === "zip_second"));
    const run = await runDag(lite.client, "zip_greets");
    expect(await logOf(lite.client, "zip_greets", run.runId, "greet")).toContain("said another word");
    pack("torn.zip", { "mended.py": dagOf("zip_mended") });
    await waitForDag(lite.client, "zip_mended");
    await until("its error is gone", async () => !("torn.zip" in (await errors())));
    rmSync(join(home.workspace, "packed.zip"));
    await until("its DAGs are gone", async () => !(await dags()).some(({ dag_id: dagId }) => dagId === "zip_greets"));
  });
});
