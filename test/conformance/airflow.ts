import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pino } from "pino";
import { Client, sleep } from "../../bench/client.ts";
import { ManagedPostgres } from "../../src/lite/postgres/managed-postgres.ts";
import { runCommand } from "../../src/lite/command.ts";
import { silentProgress } from "../../src/lite/progress.ts";
import { Toolchain } from "../../src/lite/python/toolchain.ts";
import { prepareSharedHome, sharedHome } from "../support/home.ts";

/** Drivers of the database, which Leoflow's own environment does without. */
const DRIVERS = ["psycopg2-binary==2.9.13", "asyncpg==0.32.0"];
const COMPONENTS = [["api-server"], ["scheduler"], ["dag-processor"], ["triggerer"]];
const START_SECONDS = 180;

/** Real Airflow with LocalExecutor on a PostgreSQL of its own, both below `folder`. */
export interface Airflow {
  client: Client;
  database: { host: string; user: string; password: string; database: string };
  stop(): Promise<void>;
}

/**
 * A Python with the Airflow that Leoflow pins, from the same lock file, and what it needs to be a server. Kept in `.cache`.
 * `base`: a Python that has this Airflow already, of which only the packages are used.
 */
export async function airflowPython(): Promise<string> {
  const venv = join(sharedHome.program, ".cache/airflow-reference/venv");
  const python = join(venv, "bin/python");
  const done = join(venv, ".complete");
  const lock = join(sharedHome.program, "python/requirements.lock");
  if (existsSync(done) && readFileSync(done, "utf8") === readFileSync(lock, "utf8")) return python;
  const toolchain = new Toolchain(sharedHome, silentProgress);
  const { executable } = await toolchain.interpreter();
  mkdirSync(dirname(venv), { recursive: true });
  for (const args of [
    ["venv", "--clear", "--python", executable, venv],
    ["pip", "install", "--python", python, "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", lock],
    ["pip", "install", "--python", python, ...DRIVERS],
  ]) {
    const { code, output } = await toolchain.run(args);
    if (code !== 0) throw new Error(`uv ${args.join(" ")}: ${output}`);
  }
  writeFileSync(done, readFileSync(lock));
  return python;
}

export async function startAirflow(
  python: string,
  folder: string,
  dags: string,
  port: number,
  more: Record<string, string> = {},
): Promise<Airflow> {
  const { postgresBin } = await prepareSharedHome();
  const postgres = new ManagedPostgres({
    logger: pino({ level: "error" }),
    bin: postgresBin,
    folder: join(folder, "postgres"),
    database: "airflow",
    settings: { fsync: "off", max_connections: "200", shared_buffers: "128MB", max_wal_size: "2GB" },
  });
  const { host, user, password } = await postgres.start();
  const env = {
    ...process.env,
    VIRTUAL_ENV: undefined,
    PATH: `${dirname(python)}:${process.env["PATH"] ?? ""}`,
    AIRFLOW_HOME: join(folder, "home"),
    ...settings(dags, port, `postgresql+psycopg2://${user}:${password}@/airflow?host=${host}`),
    ...more,
  };
  const airflow = [python, "-m", "airflow"];
  const migrated = await runCommand([...airflow, "db", "migrate"], { env });
  if (migrated.code !== 0) throw new Error(`airflow db migrate: ${migrated.output}`);
  const children: ChildProcess[] = COMPONENTS.map((args) => {
    const log = openSync(join(folder, `${args[0]}.log`), "w");
    return spawn(python, ["-m", "airflow", ...args], { env, stdio: ["ignore", log, log], detached: true });
  });
  const stop = async () => {
    for (const child of children) kill(child);
    await Promise.all(
      children.map(async (child) => {
        if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      }),
    );
    await postgres.stop();
  };
  try {
    const client = new Client(`http://127.0.0.1:${port}`);
    await ready(client, children);
    await client.login();
    return { client, database: { host, user, password, database: "airflow" }, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** For Leoflow too: users' own code beside the DAGs. */
export function settingsOfPlugins(folder: string): Record<string, string> {
  return { AIRFLOW__CORE__PLUGINS_FOLDER: folder, AIRFLOW__CORE__XCOM_BACKEND: "hidden_xcoms.HiddenXComs" };
}

/** Airflow's defaults but for what makes it quicker. */
function settings(dags: string, port: number, database: string): Record<string, string> {
  return {
    AIRFLOW__CORE__DAGS_FOLDER: dags,
    AIRFLOW__CORE__LOAD_EXAMPLES: "False",
    AIRFLOW__CORE__EXECUTOR: "LocalExecutor",
    AIRFLOW__CORE__PARALLELISM: "8",
    AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS: "True",
    AIRFLOW__CORE__EXECUTION_API_SERVER_URL: `http://127.0.0.1:${port}/execution/`,
    AIRFLOW__CORE__HOSTNAME_CALLABLE: "socket.gethostname",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN: database,
    AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE: "30",
    AIRFLOW__API__PORT: String(port),
    AIRFLOW__API__HOST: "127.0.0.1",
    AIRFLOW__API__WORKERS: "1",
    AIRFLOW__API__SECRET_KEY: randomBytes(16).toString("hex"),
    AIRFLOW__API_AUTH__JWT_SECRET: randomBytes(32).toString("hex"),
    AIRFLOW__SCHEDULER__MAX_DAGRUNS_TO_CREATE_PER_LOOP: "100",
    AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE: "100",
    AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME: "0.2",
    AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK: "False",
    AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL: "5",
    AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL: "3600",
    AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT: String(port + 1),
    AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT: String(port + 2),
  };
}

async function ready(client: Client, children: readonly ChildProcess[]): Promise<void> {
  const end = Date.now() + START_SECONDS * 1000;
  for (;;) {
    const ended = children.findIndex((child) => child.exitCode !== null);
    if (ended >= 0) throw new Error(`airflow ${COMPONENTS[ended]?.join(" ")} ended; see its log`);
    const answer = await client.call("GET", "/api/v2/monitor/health").catch(() => null);
    const health = answer as Record<string, { status: string | null }> | null;
    if (health && ["scheduler", "dag_processor"].every((part) => health[part]?.status === "healthy")) return;
    if (Date.now() > end) throw new Error(`Airflow is not ready: ${JSON.stringify(health)}`);
    await sleep(500);
  }
}

/** Has a DAG run once, and returns the run's id. On a busy machine Airflow loses its DAGs for a while. */
export async function triggerPatiently(
  client: Client,
  dag: string,
  body: Record<string, unknown>,
  attempts: number,
): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    try {
      await client.unpause(dag);
      const run = (await client.call("POST", `/api/v2/dags/${dag}/dagRuns`, { logical_date: null, ...body })) as {
        dag_run_id: string;
      };
      return run.dag_run_id;
    } catch (error) {
      if (attempt === attempts) throw error;
      await sleep(2_000);
    }
  }
}

/** The whole group: a component's own children too. */
function kill(child: ChildProcess): void {
  if (child.exitCode !== null || child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGTERM");
  } catch {
    child.kill("SIGTERM");
  }
}
