import { spawn } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { Errors } from "typebox/schema";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeHeader, padding, type EntryType } from "../../src/kit/tar/tar-format.ts";
import { DAG_JSON_SCHEMA, type DagJson } from "../../src/domain/dag-json.ts";
import type { Registration } from "../../src/cli/project/push.ts";
import { runOnTerminal } from "../release/pty.ts";
import {
  ADMIN,
  createLiteHome,
  PASSWORD,
  runDag,
  until,
  waitForRun,
  xcomOf,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";

const root = join(import.meta.dirname, "../..");
const examples = join(root, "examples/projects");
const program = [process.execPath, join(root, "bin/leoflow")];
const PUSHED = "leoflow-pushed";

let home: LiteHome;
let lite: Lite;
let files: string;
beforeAll(async () => {
  home = await createLiteHome();
  lite = await home.start();
  files = mkdtempSync(join(tmpdir(), "leoflow-authoring-"));
});
afterAll(async () => {
  await home.remove();
  rmSync(files, { recursive: true, force: true });
});

interface Ended {
  code: number | null;
  out: string;
  err: string;
}

const environment = () => ({ ...process.env, LEOFLOW_HOME: home.home, HOME: files, NO_COLOR: "1" });

function leoflow(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const child = spawn(process.execPath, [...program.slice(1), ...args], {
    cwd: files,
    env: { ...environment(), ...env },
  });
  let [out, err] = ["", ""];
  child.stdout.on("data", (data: Buffer) => (out += data.toString()));
  child.stderr.on("data", (data: Buffer) => (err += data.toString()));
  child.stdin.end();
  return new Promise((resolve) => child.once("close", (code) => resolve({ code, out, err })));
}

async function done(...args: string[]): Promise<string> {
  const { code, out, err } = await leoflow(args);
  expect({ code, err: err.replaceAll(/^(note|warning): .*\n/gm, "") }).toEqual({ code: 0, err: "" });
  return out;
}

function write(path: string, text: string): void {
  mkdirSync(join(files, path, ".."), { recursive: true });
  writeFileSync(join(files, path), text);
}

const dagFile = (dagId: string, result: string) =>
  `from airflow.sdk import DAG, task\nwith DAG("${dagId}"):\n    @task\n    def only():\n        import os\n        return ${result}\n    only()\n`;

const dagOf = (dagId: string) =>
  lite.client.call("GET", `/api/v2/dags/${dagId}/details`) as Promise<
    Record<string, unknown> & { latest_dag_version: { version_number: number } }
  >;

describe("init", () => {
  it("makes projects that are valid, and overwrites nothing", async () => {
    for (const template of ["minimal", "taskflow", "mapping", "assets", "sensor", "airflow"]) {
      expect(await done("init", `new/${template}`, "--template", template)).toBe(
        `Initialized Leoflow project "${template}" in new/${template}\n`,
      );
    }
    const before = readFileSync(join(files, "new/minimal/dag.py"), "utf8");
    const again = await leoflow(["init", "new/minimal"]);
    expect(again).toMatchObject({
      code: 1,
      err: expect.stringContaining("error: new/minimal/leoflow.yaml is in the way; nothing was written\n") as string,
    });
    expect(readFileSync(join(files, "new/minimal/dag.py"), "utf8")).toBe(before);
    expect(await leoflow(["init", "x", "--template", "none"])).toMatchObject({ code: 2 });
    expect(await leoflow(["init", "x", "--dag-id", "a b"])).toMatchObject({ code: 2 });
  });
});

describe("validate", () => {
  it("says what is right, through a pipe, on a terminal and as JSON", async () => {
    const shown = await runOnTerminal([...program, "validate", join(files, "new/taskflow")], [], environment());
    expect(shown.output).toContain("new/taskflow/leoflow.yaml is valid\r\n  taskflow: 3 tasks, schedule 0 6 * * *\r\n");
    const { code, out } = await leoflow(["validate", "new/mapping", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({
      path: "new/mapping",
      file: "new/mapping/leoflow.yaml",
      valid: true,
      errors: [],
      warnings: [],
      dags: [{ dag_id: "mapping", tasks: 3, schedule: "None" }],
    });
  });

  it.each([
    ["no-project", { "a.txt": "" }, 'no Leoflow project at "bad/no-project" (no leoflow.yaml)'],
    ["no-source", { "leoflow.yaml": "dag_source: flow.py\n" }, "there is no flow.py in bad/no-source"],
    ["key", { "leoflow.yaml": "retries: 1\n", "dag.py": "" }, 'bad/key/leoflow.yaml:1:1: unknown key "retries"'],
    ["no-dag", { "dag.py": "x = 1  # airflow dag\n" }, "no DAG found in bad/no-dag/dag.py"],
    ["syntax", { "dag.py": "def airflow_dag(:\n" }, "failed to import bad/syntax/dag.py: SyntaxError: invalid syntax"],
    [
      "import",
      { "dag.py": "import airflow_dag_helper\n" },
      "failed to import bad/import/dag.py: ModuleNotFoundError: No module named 'airflow_dag_helper'",
    ],
  ])("names what is wrong: %s", async (name, all, message) => {
    for (const [file, text] of Object.entries(all)) write(`bad/${name}/${file}`, text);
    const { code, err, out } = await leoflow(["validate", `bad/${name}`]);
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(err).toContain(`error: `);
    expect(err).toContain(message);
  });

  it("asks a server for what is declared, and says where set-up is missing", async () => {
    write("declared/dag.py", dagFile("declared", "1").replace("@task", '@task(pool="narrow")'));
    write(
      "declared/leoflow.yaml",
      "connections: [shop]\nvariables: [rate]\ntasks: { only: { connections: [lake] } }\n",
    );
    const { code, err } = await leoflow(["validate", "declared", "--server", lite.base]);
    expect(code).toBe(0);
    for (const what of ['connection "lake"', 'connection "shop"', 'variable "rate"', 'pool "narrow"']) {
      expect(err).toContain(`warning: ${lite.base} has no ${what}\n`);
    }
    const none = await leoflow(["validate", "declared"], { LEOFLOW_HOME: join(files, "nothing") });
    expect(none).toMatchObject({ code: 1, err: expect.stringContaining("run `leoflow setup` once") as string });
  });
});

describe("compile and build", () => {
  it("writes the same bytes from every path", async () => {
    expect(await done("compile", join(examples, "csv_report"), "-o", "a.json", "--dag-version", "1.2")).toMatch(
      /^Compiled .*csv_report\/dag\.py -> a\.json \(no image, version 1\.2\)\n$/,
    );
    cpSync(join(examples, "csv_report"), join(files, "else/where"), { recursive: true });
    write("else/where/notes.md", "left out");
    await done("compile", "else/where", "-o", "b.json", "--dag-version", "1.2");
    const text = readFileSync(join(files, "a.json"), "utf8");
    expect(readFileSync(join(files, "b.json"), "utf8")).toBe(text);
    expect(await done("compile", "else/where", "-o", "-", "--dag-version", "1.2")).toBe(text);
    const json = JSON.parse(text) as DagJson;
    expect(json).toMatchObject({ dag_id: "csv_report", dag_version: "1.2", image: null, schedule: "0 6 * * *" });
    expect(json.files.map(({ path }) => path)).toEqual(["dag.py", "leoflow.yaml", "sales.csv"]);
    expect(json.tasks.map(({ task_id, depends_on }) => [task_id, depends_on])).toEqual([
      ["read", []],
      ["report", ["read"]],
    ]);
    expect(text).not.toContain(root);
    expect(Errors(DAG_JSON_SCHEMA, json)).toEqual([true, []]);
    write("else/where/sales.csv", "region,amount\n");
    await done("compile", "else/where", "-o", "b.json", "--dag-version", "1.2");
    expect((JSON.parse(readFileSync(join(files, "b.json"), "utf8")) as DagJson).content_hash).not.toBe(
      json.content_hash,
    );
  });

  it("refuses links and a left-out DAG file, and leaves an older dag.json as it is", async () => {
    write("else/left/dag.py", dagFile("left", "1"));
    write("else/left/leoflow.yaml", "include_paths: [data]\n");
    write("old.json", "old");
    const left = await leoflow(["compile", "else/left", "-o", "old.json"]);
    expect(left).toMatchObject({
      code: 1,
      err: expect.stringContaining("dag.py is left out by include_paths") as string,
    });
    expect(readFileSync(join(files, "old.json"), "utf8")).toBe("old");
  });

  // A builder needs an image to begin with, from outside: what is called, and what lies in the context, is recorded by a program of that name.
  it("calls buildah with the project's files and a generated Containerfile", async () => {
    write("image/dag.py", dagFile("image", "1"));
    write(
      "image/leoflow.yaml",
      "python_version: 3.11\nsystem_packages: [libpq5, curl]\nbuild: { platforms: [linux/arm64], labels: { team: etl } }\nregistry: { url: ghcr.io/acme/, tag_strategy: version }\n",
    );
    expect(await done("build", "image", "--print-containerfile")).toContain("FROM python:3.11-slim\n");
    write(
      "bin/buildah",
      `#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "$@" > ${files}/buildah.$1\n[ "$1" = push ] && echo sha256:1234 > "$3" && exit 0\necho progress\neval "cp -r \\"\\$$#\\" ${files}/context"\n`,
    );
    chmodSync(join(files, "bin/buildah"), 0o755);
    const PATH = `${files}/bin:${process.env["PATH"]}`;
    const { code, out } = await leoflow(["build", "image", "--dag-version", "v 1"], { PATH });
    expect({ code, out }).toEqual({
      code: 0,
      out: 'Built ghcr.io/acme/image:v-1 (dag_id "image", version v 1)\n',
    });
    expect(readFileSync(join(files, "buildah.build"), "utf8")).toMatch(
      /^build --file \S+\/Containerfile --tag ghcr\.io\/acme\/image:v-1 --platform linux\/arm64 \S+\n$/,
    );
    const containerfile = readFileSync(join(files, "context/Containerfile"), "utf8");
    expect(containerfile).toContain("--no-install-recommends curl libpq5");
    expect(containerfile).toContain('LABEL "team"="etl"');
    expect(readdirSync(join(files, "context/project"))).toEqual(["dag.py", "leoflow.yaml"]);
    expect(readFileSync(join(files, "context/requirements.txt"), "utf8")).toContain("apache-airflow");
    expect(await leoflow(["build", "image", "--dag-version", "v 1", "--push"], { PATH })).toMatchObject({
      code: 0,
      out: 'Built and pushed ghcr.io/acme/image:v-1@sha256:1234 (dag_id "image", version v 1)\n',
    });
    const deployed = await leoflow(["deploy", "image", "--yes", "--push", "--json"], { PATH });
    expect(JSON.parse(deployed.out)).toMatchObject([{ dag_id: "image", state: "registered" }]);
    expect(deployed.err).toContain("progress\n");
    await done("dags", "delete", "image", "--yes");
    const none = await leoflow(["build", "image"], { PATH: join(files, "nothing") });
    expect(none).toMatchObject({
      code: 1,
      err: expect.stringContaining("needs buildah or docker, and neither is there") as string,
    });
    expect(await leoflow(["build", "new/minimal"])).toMatchObject({
      code: 2,
      err: expect.stringContaining("--image") as string,
    });
  });
});

describe("push and deploy", () => {
  it("deploys every example, and each runs green", async () => {
    cpSync(examples, join(files, "examples"), { recursive: true });
    const { code, out, err } = await leoflow(["deploy", "examples", "--all", "--yes", "--trigger", "--json"]);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    const deployed = JSON.parse(out) as (Registration & { run_id: string })[];
    expect(deployed.map(({ dag_id }) => dag_id)).toEqual(readdirSync(examples).sort());
    for (const { dag_id: dagId, run_id: runId, created, version_number: version } of deployed) {
      expect({ dagId, created, version }).toEqual({ dagId, created: true, version: 1 });
      expect(await waitForRun(lite.client, dagId, runId)).toMatchObject({ state: "success" });
    }
    const value = (dagId: string, task: string) =>
      xcomOf(lite.client, dagId, deployed.find(({ dag_id }) => dag_id === dagId)?.run_id ?? "", task);
    expect(await value("csv_report", "report")).toBe("north 220.40; south 80.25");
    expect(await value("lifecycle", "flaky")).toBe(3);
    expect(await value("montecarlo_pi", "estimate")).toBe(3.1);
    expect(await value("sqlite_load", "total")).toBe(7.75);
    expect(await value("taskflow_sales", "load")).toBe("34.50 in all");
    expect(await value("api_chain", "order")).toEqual({ path: "/users/7/orders", items: 2 });
    expect(await dagOf("taskflow_sales")).toMatchObject({
      bundle_name: PUSHED,
      owners: ["sales"],
      relative_fileloc: `${PUSHED}/taskflow_sales/flow/sales.py`,
    });
  });

  it("registers what changed as the next version, and what did not not again", async () => {
    expect(await done("push", "examples/csv_report")).toMatch(
      /^"csv_report" is already registered with \S+ \(version 1\)\n$/,
    );
    write("examples/csv_report/leoflow.yaml", 'dag_id: csv_report\ndescription: Every hour\nschedule: "@hourly"\n');
    await done("compile", "examples/csv_report", "-o", "examples/csv_report/dag.json");
    expect(await done("push", "examples/csv_report/dag.json")).toMatch(
      /^Registered "csv_report" with \S+ \(version 2\)\n$/,
    );
    expect(await dagOf("csv_report")).toMatchObject({
      description: "Every hour",
      timetable_summary: "0 * * * *",
      latest_dag_version: { version_number: 2 },
    });
    expect(readdirSync(join(home.workspace, PUSHED, ".store"))).toHaveLength(9);
    write("examples/csv_report/sales.csv", "region,amount\n");
    const stale = await leoflow(["push", "examples/csv_report/dag.json"]);
    expect(stale).toMatchObject({
      code: 1,
      err: expect.stringContaining("sales.csv is not what it was when") as string,
    });
    write(
      "examples/csv_report/dag.json",
      readFileSync(join(files, "examples/csv_report/dag.json"), "utf8").replace("Every", "Any"),
    );
    expect((await leoflow(["push", "examples/csv_report/dag.json"])).err).toContain(
      "was changed after it was compiled",
    );
  });

  it("asks before it deploys", async () => {
    write("asked/dag.py", dagFile("asked", "1"));
    expect(await leoflow(["deploy", "asked"])).toMatchObject({
      code: 2,
      err: expect.stringContaining("without --yes") as string,
    });
    const command = [...program, "deploy", join(files, "asked"), "--dag-version", "1"];
    const said = await runOnTerminal(command, [["[y/N]", "y\n"]], environment());
    expect(said.output).toContain('deploy "asked" (version 1) to http://localhost');
    expect(said.output).toContain('Registered "asked"');
  });

  it("changes nothing where the project cannot be served", async () => {
    const link = readlinkSync(join(home.workspace, PUSHED, "xcom_typed"));
    // Valid here, broken there: the server alone has what it was pushed with.
    const bad = await put("xcom_typed", { "dag.py": "import airflow_dag_nowhere\n" });
    expect(bad).toMatchObject({
      status: 422,
      detail: expect.stringContaining("No module named 'airflow_dag_nowhere'") as string,
    });
    expect(await put("xcom_typed", { "dag.py": dagFile("another", "1") })).toMatchObject({
      status: 422,
      detail: "The project defines [another], not xcom_typed.",
    });
    expect(readlinkSync(join(home.workspace, PUSHED, "xcom_typed"))).toBe(link);
    expect((await runDag(lite.client, "xcom_typed")).state).toBe("success");
    expect(await lite.client.call("GET", "/api/v2/importErrors")).toMatchObject({ total_entries: 0 });

    mkdirSync(join(home.workspace, "own"));
    writeFileSync(join(home.workspace, "own/dag.py"), dagFile("own", "os.environ['FROM']"));
    writeFileSync(join(home.workspace, "own/leoflow.yaml"), "tasks: { only: { env: { FROM: yaml } } }\n");
    await until("own is there", () =>
      dagOf("own").then(
        () => true,
        () => false,
      ),
    );
    const taken = await put("own", { "dag.py": dagFile("own", "1") });
    expect(taken).toMatchObject({
      status: 409,
      detail: expect.stringContaining("own is already served from own/dag.py of the bundle dags-folder") as string,
    });
  });

  it("takes plain files inside of the project only, of the hash that was said", async () => {
    const good = dagFile("guarded", "1");
    expect(await put("guarded", { "dag.py": good }, { hash: "0".repeat(64) })).toMatchObject({ status: 409 });
    expect(await put("guarded", { "../dag.py": good })).toMatchObject({ status: 400 });
    expect(await put("guarded", { "/dag.py": good })).toMatchObject({ status: 400 });
    expect(await put("guarded", { "dag.py": good }, { type: "symlink" })).toMatchObject({
      status: 400,
      detail: "dag.py is neither a file nor a folder.",
    });
    expect(await put("guarded", {}, { bytes: Buffer.from("not gzip") })).toMatchObject({ status: 400 });
    expect(await put("guarded", {}, { bytes: gzipSync(Buffer.alloc(600, 1)) })).toMatchObject({ status: 400 });
    expect(await put("guarded", { "dag.py": good }, { token: "" })).toMatchObject({ status: 401 });
    expect(existsSync(join(home.workspace, PUSHED, "guarded"))).toBe(false);
    expect(existsSync(join(home.workspace, PUSHED, "dag.py"))).toBe(false);
  });

  it("hot-reloads leoflow.yaml of the workspace as a version of its own", async () => {
    const run = await runDag(lite.client, "own");
    expect(await xcomOf(lite.client, "own", run.runId, "only")).toBe("yaml");
    writeFileSync(
      join(home.workspace, "own/leoflow.yaml"),
      "description: New\ntasks: { only: { env: { FROM: again } } }\n",
    );
    await until("it is read", async () => (await dagOf("own"))["description"] === "New");
    expect(await dagOf("own")).toMatchObject({ latest_dag_version: { version_number: 2 } });
    const second = await runDag(lite.client, "own");
    expect(await xcomOf(lite.client, "own", second.runId, "only")).toBe("again");
  });

  it("is in a backup, survives a restart, and goes when its DAG is deleted", async () => {
    await done("lite", "backup", "--workspace", home.workspace, "--output", join(files, "backup.tar.gz"));
    const listed = spawn("tar", ["-tzf", join(files, "backup.tar.gz")]);
    let names = "";
    listed.stdout.on("data", (data: Buffer) => (names += data.toString()));
    await new Promise((resolve) => listed.once("close", resolve));
    const link = readlinkSync(join(home.workspace, PUSHED, "lifecycle"));
    expect(names).toContain(`workspace/${PUSHED}/lifecycle\n`);
    expect(names).toContain(`workspace/${PUSHED}/${link}/dag.py\n`);
    await lite.stop();
    lite = await home.start();
    expect(await dagOf("lifecycle")).toMatchObject({ is_stale: false, bundle_name: PUSHED });
    await lite.client.call("DELETE", "/api/v2/dags/lifecycle");
    await until("its files are gone", () => Promise.resolve(!existsSync(join(home.workspace, PUSHED, "lifecycle"))));
    await expect(dagOf("lifecycle")).rejects.toThrow("404");
  });
});

interface Sent {
  hash?: string;
  type?: EntryType;
  bytes?: Buffer;
  token?: string;
}

/** What a client of somebody else's making sends. */
async function put(dagId: string, all: Record<string, string>, { hash, type = "file", bytes, token }: Sent = {}) {
  const { createHash } = await import("node:crypto");
  const sha = (text: string) => createHash("sha256").update(text).digest("hex");
  const blocks = Object.entries(all).flatMap(([name, text]) => {
    const content = Buffer.from(type === "file" ? text : "");
    const target = type === "symlink" ? "/etc/passwd" : undefined;
    return [
      encodeHeader({ name, type, mode: 0o644, mtimeUs: 0, size: content.length, target }),
      content,
      padding(content.length),
    ];
  });
  const lines = Object.entries(all).map(([name, text]) => `${sha(text)} - ${name}\n`);
  const said = hash ?? sha(lines.sort().join(""));
  const login = await fetch(`${lite.base}/auth/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ username: ADMIN, password: PASSWORD }),
  });
  const { access_token: own } = (await login.json()) as { access_token: string };
  const response = await fetch(`${lite.base}/api/leoflow/dags/${dagId}/versions?files_hash=sha256:${said}`, {
    method: "PUT",
    headers: { "content-type": "application/gzip", ...(token === "" ? {} : { authorization: `Bearer ${own}` }) },
    body: new Uint8Array(bytes ?? gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]))),
  });
  return { status: response.status, ...((await response.json()) as { detail?: unknown }) };
}
