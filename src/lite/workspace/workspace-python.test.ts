import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { EventBus } from "../../domain/events.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { startTestRuntime, testKit, testPython, type TestRuntime } from "../../../test/support/python.ts";
import { ProjectEnvironments } from "./project-environments.ts";
import { WorkspaceProcessor } from "./workspace-processor.ts";

const DAG = `
from airflow.sdk import dag, task
from lib.names import NAME

@dag(dag_id="d", tags=["t"], schedule="@daily")
def d():
    @task
    def t():
        return NAME

    t()

d()
`;

let test: TestDatabase;
let python: TestRuntime;
let processor: WorkspaceProcessor;
const published: string[] = [];

beforeAll(async () => {
  [test, python] = await Promise.all([createTestDatabase(), startTestRuntime()]);
  const events = new EventBus();
  events.on("dag", ({ dagId }) => published.push(dagId));
  processor = new WorkspaceProcessor(
    testKit,
    {
      db: test.db,
      events,
      parse: (request) => python.runtime.parseFile(request),
      environments: new ProjectEnvironments(testKit, () => Promise.resolve("uv"), {
        folder: join(python.home, "venvs"),
        basePython: testPython(),
        lockFile: join(import.meta.dirname, "../../../python/requirements.lock"),
        uvEnvironment: {},
      }),
    },
    {
      workspace: python.workspace,
      versionsFolder: join(python.home, "versions"),
      pausedAtCreation: true,
      runtime: "r1",
      parseTimeoutSeconds: 2,
    },
  );
  write("flows/d.py", DAG);
  write("lib/names.py", 'NAME = "one"\n');
  await python.runtime.warm();
  await processor.start();
  await processor.whenIdle();
});
afterAll(async () => {
  await processor.stop();
  await python.runtime.stop();
  await test.close();
});

function write(relPath: string, text: string): void {
  const path = join(python.workspace, relPath);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

const current = (dagId: string) =>
  test.db
    .selectFrom("dag")
    .innerJoin("dag_version", "dag_version.id", "dag.current_version_id")
    .where("dag.dag_id", "=", dagId)
    .selectAll()
    .executeTakeFirstOrThrow();
const errorOf = async (filename: string) =>
  (await test.db.selectFrom("import_error").where("filename", "=", filename).select("stacktrace").executeTakeFirst())
    ?.stacktrace ?? "";
const eventually = (check: () => Promise<void>) => vi.waitFor(check, { timeout: 8000, interval: 5 });

it("registers what Airflow serialized", async () => {
  expect(await current("d")).toMatchObject({
    is_paused: true,
    relative_fileloc: "flows/d.py",
    fileloc: join(python.workspace, "flows/d.py"),
    timetable_summary: "0 0 * * *",
    version_number: 1,
    source_code: DAG,
  });
  expect(JSON.parse((await current("d")).serialized)).toMatchObject({ __version: 3, dag: { dag_id: "d" } });
});

// `npm run bench` measures it alone (0.3 s to reach); here other tests share the machine.
it("has a save live soon", async () => {
  const times: number[] = [];
  for (let round = 2; round <= 6; round++) {
    const startedMs = performance.now();
    write("flows/d.py", DAG.replace('"d"', `"d", description="round ${round}"`));
    await eventually(async () => expect((await current("d")).version_number).toBe(round));
    times.push(performance.now() - startedMs);
  }
  testKit.logger.info({ times }, "save to live");
  expect(Math.min(...times)).toBeLessThan(1000);
});

it("follows helpers, and pins them in the version", async () => {
  const before = await current("d");
  write("lib/names.py", 'NAME = "two"\n');
  await eventually(async () => expect((await current("d")).version_number).toBe(before.version_number + 1));
  const after = await current("d");
  expect(after.dag_hash).toBe(before.dag_hash);
  const text = (digest: string) => readFileSync(join(python.home, "versions", digest, "lib/names.py"), "utf8");
  expect(text(before.archive_digest)).toBe('NAME = "one"\n');
  expect(text(after.archive_digest)).toBe('NAME = "two"\n');
});

it("shows tracebacks of the file and of its helpers, and both go", async () => {
  write("lib/names.py", "NAME = (\n");
  await eventually(async () => expect(await errorOf("flows/d.py")).toMatch(/lib\/names\.py.*SyntaxError/s));
  expect(await current("d")).toMatchObject({ has_import_errors: true, is_stale: false });
  write("lib/names.py", 'NAME = "three"\n');
  await eventually(async () => expect(await errorOf("flows/d.py")).toBe(""));
  write("flows/d.py", `${DAG}\nimport missing_module\n`);
  await eventually(async () => expect(await errorOf("flows/d.py")).toContain("No module named 'missing_module'"));
  write("missing_module.py", "");
  await eventually(async () => expect(await errorOf("flows/d.py")).toBe(""));
});

it("ends a file that hangs and reports it, while others go on", async () => {
  write("hang.py", "# airflow dag\nimport time\ntime.sleep(600)\n");
  write("flows/quick.py", DAG.replace('"d"', '"quick"'));
  await eventually(async () => expect((await current("quick")).version_number).toBe(1));
  await eventually(async () => expect(await errorOf("hang.py")).toContain("2 s"));
});
