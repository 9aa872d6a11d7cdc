import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import pg from "pg";
import { formatBytes } from "../src/kit/bytes.ts";
import { databaseBytes } from "../src/store/table-sizes.ts";
import { bareDump, createFilledHome, onDatastore, printTable, secondsSince, shell, shown } from "./filled-home.ts";

declare const SCRIPT_FOLDER: string;
const BENCH_ROOT = join(SCRIPT_FOLDER, "..");

// Backup and restore of a datastore of 1 GB by the commands that a user runs, beside pg_dump and psql alone.

const { paths, remove } = await createFilledHome(1_400_000);
const userHome = dirname(paths.home);
const archive = join(userHome, "backup.tar.gz");
const rows: string[][] = [["a datastore of 1 GB", "took", "memory", ""]];
try {
  mkdirSync(join(userHome, "leoflow"));
  writeFileSync(join(userHome, "leoflow/dag.py"), "# mine\n");
  writeFileSync(paths.config, "admin_email: me@example.com\n", { mode: 0o600 });

  await onDatastore(paths, async (datastore) => {
    const plain = join(userHome, "floor.sql.gz");
    const dumped = bareDump(datastore, plain);
    rows.push(["floor: pg_dump \\| gzip", shown(dumped.seconds), "", formatBytes(dumped.bytes)]);
    const client = new pg.Client(datastore.database);
    await client.connect();
    rows[0]?.splice(3, 1, `database of ${formatBytes(await databaseBytes(client))}`);
    await client.query("create database floor");
    const { database, bin } = datastore;
    const replay = `gunzip -c "${plain}" | "${bin}/psql" -qX --single-transaction --set=ON_ERROR_STOP=1 -f -`;
    rows.push(["floor: gunzip \\| psql -f", shown(shell(replay, { ...database, database: "floor" })), "", ""]);
    await client.query("drop database floor");
    await client.query("checkpoint");
    await client.end();
  });

  await measure("leoflow lite backup", ["backup", "--output", archive]);
  rows.at(-1)?.splice(3, 1, formatBytes(statSync(archive).size));
  await measure("leoflow lite restore --dry-run", ["restore", "-i", archive, "--force", "--dry-run"]);
  await measure("leoflow lite restore --force --no-snapshot", ["restore", "-i", archive, "--force", "--no-snapshot"]);
  await measure("leoflow lite restore --force", ["restore", "-i", archive, "--force"]);
} finally {
  remove();
}
printTable(rows);

/** Runs `leoflow lite …`. The memory is its own at its largest, without PostgreSQL's. */
async function measure(name: string, args: string[]): Promise<void> {
  const began = performance.now();
  const child = spawn(process.execPath, [join(BENCH_ROOT, "bin/leoflow"), "lite", ...args], {
    env: { ...process.env, HOME: userHome, LEOFLOW_HOME: paths.home },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (text: Buffer) => (output += text.toString()));
  let peak = 0;
  const watch = setInterval(() => (peak = Math.max(peak, peakMemory(child.pid ?? 0))), 50);
  const code = await new Promise((done) => child.once("close", done));
  clearInterval(watch);
  if (code !== 0) throw new Error(`leoflow lite ${args.join(" ")} ended with ${String(code)}`);
  // Its own steps with their times.
  const steps = output.match(/✓ .*\d s$/gm) ?? [];
  rows.push([
    name,
    shown(secondsSince(began)),
    formatBytes(peak),
    steps.map((step) => step.replace(/ {2,}/g, " ")).join("; "),
  ]);
}

function peakMemory(pid: number): number {
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
