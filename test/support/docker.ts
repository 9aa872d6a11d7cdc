import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { chooseIdentity } from "../../src/lite/postgres/identity.ts";
import { ManagedPostgres } from "../../src/lite/postgres/managed-postgres.ts";
import type { DatabaseConfig } from "../../src/store/database.ts";

/**
 * A Docker to adopt volumes from. A recorded client on real PostgreSQL (docker-client.mjs), or, where LEOFLOW_TEST_DOCKER is
 * "real", the `docker` on PATH with an image postgres:18 that it has.
 */
export interface TestDocker {
  isReal: boolean;
  /** To be set while the product runs. */
  env: Record<string, string>;
  /** A volume with a cluster that `fill` was given, as the image of PostgreSQL leaves it; the same `fill` is asked once. */
  makeVolume(name: string, fill: Fill, subfolder?: string): Promise<void>;
  volumes(): string[];
  /** Runs PostgreSQL on the volume, as the compose file of the volume's owner would. */
  startServer(volume: string, name: string): void;
  isRunning(name: string): boolean;
  /** What was asked of Docker so far; the real one does not tell. */
  calls(): string[];
  /** Removes volumes and containers. */
  clear(): void;
  remove(): void;
}

type Fill = (database: DatabaseConfig) => Promise<void>;

const IMAGE = "postgres:18";
/** The question that has a time limit is answered at once, however busy the machine is. */
const CLIENT = `#!/bin/sh
[ "$1 $2" = "volume ls" ] || exec '${process.execPath}' '${join(import.meta.dirname, "docker-client.mjs")}' "$@"
echo "$@" >> "$LEOFLOW_FAKE_DOCKER/calls.log"
ls "$LEOFLOW_FAKE_DOCKER/volumes" | grep leoflow || true
`;

export async function createDocker(postgresBin: string): Promise<TestDocker> {
  const root = mkdtempSync(join(tmpdir(), "leoflow-docker-"));
  const isReal = process.env["LEOFLOW_TEST_DOCKER"] === "real";
  for (const folder of ["volumes", "containers", "bin"]) mkdirSync(join(root, folder));
  chmodSync(root, 0o755);
  writeFileSync(join(root, "bin/docker"), CLIENT, { mode: 0o755 });
  writeFileSync(join(root, "calls.log"), "");
  const identity = await chooseIdentity({ folder: root, dataDir: join(root, "none") });
  const env: Record<string, string> = isReal
    ? {}
    : {
        PATH: `${join(root, "bin")}:${process.env["PATH"] ?? ""}`,
        LEOFLOW_FAKE_DOCKER: root,
        LEOFLOW_FAKE_DOCKER_BIN: postgresBin,
        LEOFLOW_FAKE_DOCKER_WRAP: JSON.stringify(identity.wrap([])),
      };
  const run = (...args: string[]) =>
    execFileSync("docker", args, {
      env: { ...process.env, ...env },
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  const makeCluster = async (fill: Fill): Promise<string> => {
    const folder = mkdtempSync(join(root, "cluster-"));
    const settings = { fsync: "off" };
    const logger = pino({ level: "silent" });
    const server = new ManagedPostgres({ logger, bin: postgresBin, folder, identity, settings });
    await fill(await server.start());
    await server.stop();
    const data = join(folder, "data");
    writeFileSync(join(data, "postgresql.conf"), "listen_addresses = '*'\n");
    writeFileSync(join(data, "pg_hba.conf"), "local all all trust\n");
    return data;
  };
  const filled = new Map<Fill, string>();
  const made: string[] = [];
  const servers: string[] = [];
  const quietly = (...args: string[]) => {
    try {
      run(...args);
    } catch {
      // it is gone already
    }
  };
  const clear = () => {
    for (const name of servers.splice(0)) quietly("rm", "--force", "--volumes", name);
    for (const name of made.splice(0)) quietly("volume", "rm", name);
  };
  return {
    isReal,
    env,
    async makeVolume(name, fill, subfolder = "") {
      const data = filled.get(fill) ?? (await makeCluster(fill));
      filled.set(fill, data);
      made.push(name);
      if (!isReal) return cpSync(data, join(root, "volumes", name, subfolder), { recursive: true });
      const copier = `leoflow-test-copy-${process.pid}`;
      run("create", "--name", copier, "--volume", `${name}:/v`, "--entrypoint", "sh", IMAGE);
      run("cp", `${data}/.`, `${copier}:/v/${subfolder}`);
      run("rm", copier);
    },
    volumes: () => run("volume", "ls", "--format", "{{.Name}}", "--filter", "name=leoflow").split("\n").filter(Boolean),
    startServer(volume, name) {
      servers.push(name);
      const start =
        "mkdir -p /tmp/leoflow-run && PGDATA=/leoflow-volume exec docker-entrypoint.sh postgres -D /leoflow-volume";
      run(
        ...["run", "--detach", "--name", name, "--network", "none", "--volume", `${volume}:/leoflow-volume`],
        ...["--env", "POSTGRES_USER=leoflow", "--entrypoint", "sh", IMAGE, "-c", start],
      );
    },
    isRunning: (name) => run("inspect", "--format", "{{.State.Running}}", name).trim() === "true",
    calls: () => readFileSync(join(root, "calls.log"), "utf8").split("\n").filter(Boolean),
    clear,
    remove() {
      clear();
      rmSync(root, { recursive: true, force: true });
    },
  };
}
