import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  ADMIN,
  createLiteHome,
  PASSWORD,
  runDag,
  until,
  waitForDag,
  xcomOf,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";

// What users of the Go project met after upgrades, by its issue's number. The others: #729 src/lite/postgres/install.test.ts,
// #742 src/lite/python/repin.test.ts and src/lite/workspace/project-environments.test.ts.

const root = join(import.meta.dirname, "../..");

let home: LiteHome;
let other: string;
let next: string;
beforeAll(async () => {
  home = await createLiteHome();
  other = join(dirname(home.home), "other");
  mkdirSync(other);
  next = mkdtempSync(join(tmpdir(), "leoflow-next-"));
});
afterAll(async () => {
  await home?.remove();
  if (next) rmSync(next, { recursive: true, force: true });
});

const dag = (id: string, description: string) => `
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG("${id}", schedule=None, description="${description}"):
    EmptyOperator(task_id="nothing")
`;

interface DagAnswer {
  dag_id: string;
  description: string;
  is_stale: boolean;
}

async function listed({ client }: Lite): Promise<Record<string, string>> {
  const { dags } = (await client.call("GET", "/api/v2/dags?limit=100")) as { dags: DagAnswer[] };
  return Object.fromEntries(dags.map(({ dag_id: id, description }) => [id, description]));
}

async function importErrors({ client }: Lite): Promise<string[]> {
  const answer = (await client.call("GET", "/api/v2/importErrors")) as { import_errors: { filename: string }[] };
  return answer.import_errors.map(({ filename }) => filename);
}

async function parsedAt({ client }: Lite, dagId: string): Promise<string> {
  return ((await client.call("GET", `/api/v2/dags/${dagId}`)) as { last_parsed_time: string }).last_parsed_time;
}

const untilListed = (lite: Lite, expected: Record<string, string>) =>
  until(`listed: ${Object.keys(expected).join()}`, async () => {
    return (
      JSON.stringify(Object.entries(await listed(lite)).sort()) === JSON.stringify(Object.entries(expected).sort())
    );
  });

it(
  "#404, #1104: the state of another workspace leaves no DAG and no import error behind",
  { timeout: 180_000 },
  async () => {
    writeFileSync(join(home.workspace, "hello.py"), dag("hello", "of the first"));
    writeFileSync(join(home.workspace, "shared.py"), dag("shared", "of the first"));
    writeFileSync(join(home.workspace, "broken.py"), "from airflow.sdk import DAG\nthis is no Python\n");
    const first = await home.start();
    await untilListed(first, { hello: "of the first", shared: "of the first" });
    expect((await runDag(first.client, "hello")).state).toBe("success");
    await until("the import error is told", async () => (await importErrors(first)).length === 1);
    await first.stop();

    writeFileSync(join(other, "real.py"), dag("real", "of the other"));
    writeFileSync(join(other, "shared.py"), dag("shared", "of the other"));
    const second = await home.start({ args: ["--workspace", other] });
    await untilListed(second, { real: "of the other", shared: "of the other" });
    await until("no import error is left", async () => (await importErrors(second)).length === 0);
    // A ghost cannot be run, is told as one, and can be removed like any other DAG, for good.
    const hello = (await second.client.call("GET", "/api/v2/dags/hello")) as DagAnswer;
    expect(hello.is_stale).toBe(true);
    await expect(second.client.call("POST", "/api/v2/dags/hello/dagRuns", { logical_date: null })).rejects.toThrow(
      / 40\d /,
    );
    await second.client.call("DELETE", "/api/v2/dags/hello");
    await expect(second.client.call("GET", "/api/v2/dags/hello")).rejects.toThrow(" 404 ");
    await second.stop();

    // Back again, with a file that went meanwhile.
    rmSync(join(home.workspace, "broken.py"));
    rmSync(join(home.workspace, "shared.py"));
    const third = await home.start();
    await untilListed(third, { hello: "of the first" });
    expect(await importErrors(third)).toEqual([]);
    expect((await runDag(third.client, "hello")).state).toBe("success");
    await third.stop();
  },
);

it("#407: a Leoflow that has run for longer than any token lives still takes saves", { timeout: 120_000 }, async () => {
  const file = join(home.workspace, "saved.py");
  writeFileSync(file, dag("saved", "before"));
  const shift = join(next, "clock/shift");
  mkdirSync(dirname(shift));
  const preload = join(import.meta.dirname, "../support/shift-clock.mjs");
  const lite = await home.start({ env: { NODE_OPTIONS: `--import=${preload}`, SHIFT_FILE: shift } });
  await waitForDag(lite.client, "saved");
  const signedIn = { username: ADMIN, password: PASSWORD };
  const { access_token: old } = (await lite.client.call("POST", "/auth/token", signedIn)) as { access_token: string };
  const status = async (token: string) =>
    (await fetch(`${lite.base}/api/v2/dags`, { headers: { authorization: `Bearer ${token}` } })).status;
  expect(await status(old)).toBe(200);

  writeFileSync(shift, String(30 * 3_600_000));
  await until("tokens of before have expired", async () => (await status(old)) === 401);
  writeFileSync(file, dag("saved", "a day later"));
  writeFileSync(join(home.workspace, "new.py"), dag("new", "a day later"));
  writeFileSync(join(home.workspace, "wrong.py"), "from airflow.sdk import DAG\nthis is no Python\n");
  await lite.client.login(ADMIN, PASSWORD);
  await untilListed(lite, { hello: "of the first", saved: "a day later", new: "a day later" });
  await until("the import error is told", async () => (await importErrors(lite)).length === 1);
  expect((await runDag(lite.client, "new")).state).toBe("success");
  await lite.stop();
  for (const name of ["hello.py", "saved.py", "new.py", "wrong.py"]) rmSync(join(home.workspace, name));
});

it(
  "#239: the next release parses and runs with its own Python side, though no file has changed",
  { timeout: 120_000 },
  async () => {
    // What a release brings, but for Node: this one, with another Python side.
    const program = join(next, "program");
    for (const name of ["bin", "dist", "python", "examples", "migrations", "package.json"]) {
      const filter = (path: string) => !/\.map$|__pycache__/.test(path);
      if (existsSync(join(root, name))) cpSync(join(root, name), join(program, name), { recursive: true, filter });
    }
    symlinkSync(join(root, "node_modules"), join(program, "node_modules"));
    appendFileSync(join(program, "python/leoflow_runtime/__init__.py"), 'RELEASE = "the next"\n');

    writeFileSync(
      join(home.workspace, "which.py"),
      `
import leoflow_runtime
from airflow.sdk import DAG, task

RELEASE = getattr(leoflow_runtime, "RELEASE", "the first")

with DAG("which", schedule=None, description=RELEASE):
    @task
    def say():
        import leoflow_runtime
        return [getattr(leoflow_runtime, "RELEASE", "the first"), leoflow_runtime.__file__]
    say()
`,
    );
    writeFileSync(join(home.workspace, "same.py"), dag("same", "the same"));
    const first = await home.start();
    await untilListed(first, { which: "the first", same: "the same" });
    const parsedBefore = await parsedAt(first, "same");
    const earlier = await runDag(first.client, "which");
    const said = (run: { runId: string }, { client }: Lite) => xcomOf(client, "which", run.runId, "say");
    expect(await said(earlier, first)).toEqual(["the first", join(root, "python/leoflow_runtime/__init__.py")]);
    await first.stop();

    const second = await home.start({ program: [process.execPath, join(program, "bin/leoflow")] });
    await untilListed(second, { which: "the next", same: "the same" });
    // Parsed again too, but the same: no version for that.
    await until("the other file is parsed again", async () => (await parsedAt(second, "same")) !== parsedBefore);
    expect(await second.client.call("GET", "/api/v2/dags/same/dagVersions")).toMatchObject({ total_entries: 1 });
    const later = await runDag(second.client, "which");
    expect(await said(later, second)).toEqual(["the next", join(program, "python/leoflow_runtime/__init__.py")]);
    // What was parsed before is a version of its own, and what ran before is still there.
    expect(await said(earlier, second)).toEqual(["the first", expect.any(String)]);
    await second.stop();
    // Nothing of it was put into the home, where it could get old.
    const copies = readdirSync(home.home, { recursive: true, encoding: "utf8" }).filter((path) =>
      /leoflow_runtime(\/|$)/.test(path),
    );
    expect(copies).toEqual([]);
  },
);
