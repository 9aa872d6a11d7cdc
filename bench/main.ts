import { spawn, type ChildProcess } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import pg from "pg";
import { Client, sleep } from "./client.ts";
import { commitFloorMs, forkFloorMs, median } from "./floors.ts";
import { footprint } from "./processes.ts";

declare const SCRIPT_FOLDER: string;
const BENCH_ROOT = join(SCRIPT_FOLDER, "..");

const HELP = `npm run bench -- [options]
  --against URL   run the DAG rows against any server with Airflow's REST API (it must have bench/dags)
  --user NAME --password TEXT   login for --against; without them the server must let everyone in
  --program FILE  an installed leoflow, or a release's bin/leoflow, instead of this tree's
  --quick         fewer rounds
  --json FILE     also write the figures to FILE
example: npm run bench -- --against http://127.0.0.1:8081`;

const PASSWORD = "bench-password-1234";

interface Row {
  name: string;
  unit: string;
  value: number;
  target: number | null;
  note: string;
}

const { values: options } = parseArgs({
  options: {
    against: { type: "string" },
    user: { type: "string" },
    password: { type: "string" },
    program: { type: "string" },
    json: { type: "string" },
    quick: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const rows: Row[] = [];
function add(name: string, unit: string, value: number, target: number | null, note = ""): void {
  rows.push({ name, unit, value, target, note });
  console.log(`${name}: ${value.toFixed(3)} ${unit}${target === null ? "" : ` (to reach: ${target})`} ${note}`);
}

async function dagRows(client: Client): Promise<void> {
  const work = [
    { dag: "leo_single", name: "1 task, POST to finished", rounds: options.quick ? 5 : 20, target: 0.1 },
    { dag: "leo_chain40", name: "40 tasks in a chain", rounds: options.quick ? 1 : 5, target: 1.2 },
    { dag: "leo_parallel100", name: "100 tasks in parallel", rounds: options.quick ? 1 : 3, target: 1.6 },
    { dag: "leo_mapped100", name: "generate, 100 mapped, reduce", rounds: options.quick ? 1 : 3, target: 1.8 },
  ];
  for (const { dag, name, rounds, target } of work) {
    await client.unpause(dag);
    await client.run(dag);
    const seconds: number[] = [];
    for (let round = 0; round < rounds; round++) seconds.push(await client.run(dag));
    add(name, "s", median(seconds), target, `median of ${rounds}, best ${Math.min(...seconds).toFixed(3)}`);
  }
}

interface Lite {
  process: ChildProcess;
  client: Client;
  base: string;
  readySeconds: number;
}

async function startLite(home: string, workspace: string, port: number): Promise<Lite> {
  const started = performance.now();
  const command = options.program ? [options.program] : [process.execPath, join(BENCH_ROOT, "bin/leoflow")];
  const [program = "", ...first] = [...command, "lite", "--port", String(port), "--workspace", workspace];
  const child = spawn(program, first, {
    env: { ...process.env, LEOFLOW_HOME: home, LEOFLOW_ADMIN_PASSWORD: PASSWORD },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  child.stdout.on("data", (data: Buffer) => (output += data.toString()));
  child.stderr.on("data", (data: Buffer) => (output += data.toString()));
  const base = `http://127.0.0.1:${port}`;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`leoflow lite ended with ${child.exitCode}:\n${output}`);
    const healthy = await fetch(`${base}/api/v2/monitor/health`).then(
      (response) => response.ok,
      () => false,
    );
    if (healthy && (await fetch(base)).ok) break;
    if (performance.now() - started > 300_000) throw new Error(`leoflow lite is not ready:\n${output}`);
    await sleep(10);
  }
  const readySeconds = (performance.now() - started) / 1000;
  const client = new Client(base);
  await client.login("admin@leoflow.local", PASSWORD);
  return { process: child, client, base, readySeconds };
}

async function stopLite(lite: Lite): Promise<number> {
  const started = performance.now();
  lite.process.kill("SIGTERM");
  if (lite.process.exitCode === null) await new Promise((resolve) => lite.process.once("exit", resolve));
  return (performance.now() - started) / 1000;
}

async function waitForDag(client: Client, dagId: string): Promise<void> {
  for (let attempt = 0; attempt < 2000; attempt++) {
    const found = await client.call("GET", `/api/v2/dags/${dagId}`).then(
      () => true,
      () => false,
    );
    if (found) return;
    await sleep(20);
  }
  throw new Error(`${dagId} did not appear`);
}

async function saveToLive(client: Client, workspace: string): Promise<void> {
  const file = join(workspace, "saved.py");
  const seconds: number[] = [];
  for (let version = 1; version <= (options.quick ? 4 : 12); version++) {
    writeFileSync(
      file,
      `from airflow.sdk import dag, task\n\n@dag(schedule=None, description="version ${version}")\ndef leo_saved():\n    @task\n    def only():\n        return ${version}\n    only()\n\nleo_saved()\n`,
    );
    const saved = performance.now();
    for (;;) {
      const shown = await client.call("GET", "/api/v2/dags/leo_saved").then(
        (dag) => (dag as { description: string }).description === `version ${version}`,
        () => false,
      );
      if (shown) break;
      if (performance.now() - saved > 60_000) throw new Error("the saved file did not become live");
      await sleep(3);
    }
    if (version > 2) seconds.push((performance.now() - saved) / 1000);
    await sleep(300);
  }
  add("save of a DAG file to new version live", "s", median(seconds), 0.3, `best ${Math.min(...seconds).toFixed(3)}`);
}

async function idle(lite: Lite, home: string): Promise<void> {
  const settleMs = options.quick ? 20_000 : 120_000;
  await sleep(settleMs);
  const pid = lite.process.pid ?? 0;
  const before = footprint(pid, home);
  const sampleMs = options.quick ? 5_000 : 60_000;
  await sleep(sampleMs);
  const after = footprint(pid, home);
  add("idle memory, all processes (PSS)", "MB", after.pssMb, 300, `${after.processes} processes`);
  for (const { name, pssMb } of after.byName.slice(0, 12))
    console.log(`    ${pssMb.toFixed(1).padStart(6)} MB  ${name}`);
  add("idle CPU", "%", ((after.cpuSeconds - before.cpuSeconds) / (sampleMs / 1000)) * 100, 1, "of one core");
}

/** On the very PostgreSQL that Lite runs on. */
async function commitFloor(home: string): Promise<number> {
  const folder = join(home, "managed-postgres");
  const host = readFileSync(join(folder, "data/postmaster.pid"), "utf8").split("\n")[4] ?? "";
  const password = readFileSync(join(folder, "password"), "utf8").trim();
  const client = new pg.Client({ host, user: "leoflow", database: "leoflow", password });
  await client.connect();
  try {
    return await commitFloorMs((text) => client.query(text));
  } finally {
    await client.end();
  }
}

async function benchLite(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "leoflow-bench-"));
  const home = join(folder, ".leoflow");
  const workspace = join(folder, "workspace");
  const port = 18_000 + Math.floor(Math.random() * 1000);
  mkdirSync(workspace);
  cpSync(join(BENCH_ROOT, "bench/dags"), workspace, { recursive: true });
  try {
    let lite = await startLite(home, workspace, port);
    add("first start (packages may come from a cache)", "s", lite.readySeconds, null);
    await waitForDag(lite.client, "leo_mapped100");
    add("floor: fork of the warm Python", "ms", forkFloorMs(join(home, "venv/bin/python")), null);
    add("floor: one committed update", "ms", await commitFloor(home), null);
    await dagRows(lite.client);
    await saveToLive(lite.client, workspace);
    await idle(lite, home);
    add("stop", "s", await stopLite(lite), 5);
    const starts: number[] = [];
    for (let round = 0; round < (options.quick ? 1 : 3); round++) {
      lite = await startLite(home, workspace, port);
      starts.push(lite.readySeconds);
      await sleep(3000);
      await stopLite(lite);
    }
    add("second start to a usable UI", "s", median(starts), 3);
  } finally {
    if (!existsSync(join(folder, "keep"))) rmSync(folder, { recursive: true, force: true });
  }
}

function table(): string {
  const lines = ["| work | measured | to reach | |", "|---|---|---|---|"];
  for (const { name, unit, value, target, note } of rows) {
    const digits = unit === "s" ? 3 : unit === "ms" ? 2 : 1;
    lines.push(
      `| ${name} | ${value.toFixed(digits)} ${unit} | ${target === null ? "" : `${target} ${unit}`} | ${note} |`,
    );
  }
  return lines.join("\n");
}

if (options.help) {
  console.log(HELP);
} else {
  if (options.against === undefined) {
    await benchLite();
  } else {
    const client = new Client(options.against);
    await client.login(options.user, options.password);
    await dagRows(client);
  }
  const { version } = JSON.parse(readFileSync(join(BENCH_ROOT, "package.json"), "utf8")) as { version: string };
  const ran = options.program ?? `Node ${process.version}`;
  console.log(`\nLeoflow ${version}, ${ran}\n\n${table()}`);
  if (options.json !== undefined) writeFileSync(options.json, JSON.stringify(rows, null, 2));
}
