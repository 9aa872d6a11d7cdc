import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { runCommand } from "../../src/lite/command.ts";
import { chooseIdentity } from "../../src/lite/postgres/identity.ts";
import { freePort } from "./lite.ts";
import { until } from "./until.ts";

/** A PostgreSQL as a server's administrator has one: on TCP, with users of its own. */
export interface TcpPostgres {
  port: number;
  /** Of its superuser. */
  url(database: string): string;
  stop(): Promise<void>;
}

export async function startTcpPostgres(bin: string): Promise<TcpPostgres> {
  const folder = mkdtempSync(join(tmpdir(), "leoflow-tcp-"));
  const data = join(folder, "data");
  const identity = await chooseIdentity({ folder, dataDir: data });
  mkdirSync(data, { mode: 0o700 });
  identity.give(data);
  const made = await runCommand(
    identity.wrap([join(bin, "initdb"), "-D", data, "-U", "admin", "-A", "trust", "--no-sync"]),
    { env: { LC_ALL: "C" }, cwd: folder },
  );
  if (made.code !== 0) throw new Error(made.output);
  writeFileSync(join(data, "pg_hba.conf"), "host all all 127.0.0.1/32 trust\n");
  const port = await freePort();
  const [program = "", ...args] = identity.wrap([
    ...[join(bin, "postgres"), "-D", data, "-p", String(port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
    ...["-c", "unix_socket_directories="],
  ]);
  const child = spawn(program, args, { cwd: folder, stdio: "ignore", env: { ...process.env, LC_ALL: "C" } });
  const url = (database: string) => `postgres://admin@127.0.0.1:${port}/${database}`;
  await until("PostgreSQL on TCP is up", async () => {
    if (child.exitCode !== null) throw new Error("PostgreSQL on TCP ended");
    const client = new pg.Client({ connectionString: url("postgres") });
    return client.connect().then(
      () => client.end().then(() => true),
      () => false,
    );
  });
  return {
    port,
    url,
    async stop() {
      const ended = new Promise((done) => child.once("exit", done));
      child.kill("SIGINT");
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
