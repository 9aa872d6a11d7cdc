import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { formatBytes } from "../../kit/bytes.ts";
import { UserError } from "../../kit/user-error.ts";
import { openDatabase, type Database } from "../../store/database.ts";
import { countDagFiles, healthFacts } from "../../store/health-facts.ts";
import { loadMigrations } from "../../store/migrations.ts";
import { readSchema, schemaError } from "../../store/schema-status.ts";
import { databaseBytes } from "../../store/table-sizes.ts";
import { runCommand } from "../command.ts";
import { hasDatastore } from "../datastore.ts";
import { volumesOf } from "../docker-volume.ts";
import { planCluster } from "../postgres/cluster-plan.ts";
import { pinnedPostgresVersion, programsOf } from "../postgres/install.ts";
import { databaseOf } from "../postgres/managed-postgres.ts";
import { isAlive, readPostmasterFile } from "../postgres/stale-server.ts";
import { ok, problem, warning, type Check, type Patient } from "./check.ts";

const CLOCK_DRIFT_MS = 5_000;
const RESTORE = "restore a backup with `leoflow lite restore -i FILE --force`";

/** Programs and data folder: files only, PostgreSQL is not started. */
export async function examinePostgres({ paths }: Patient): Promise<Check[]> {
  const plan = planCluster(paths);
  const pinned = pinnedPostgresVersion(paths);
  const bin = programsOf(paths, plan.installed ?? pinned);
  const installed = existsSync(join(bin, "postgres"));
  const checks: Check[] = [await programs(bin, installed, pinned, hasDatastore(paths))];
  if (plan.problem) return [...checks, problem("database", plan.problem.message, plan.problem.fix ?? RESTORE)];
  if (!hasDatastore(paths)) {
    const volumes = await volumesOf(paths);
    if (volumes.length > 0) {
      const where = `in Docker volume ${volumes.join(", ")}`;
      return [...checks, warning("database", `none yet; there is one ${where}`, "the first start takes it over")];
    }
    return [...checks, ok("database", "none yet; the first start makes it")];
  }
  if (plan.kind === "upgrade") {
    const detail = `data of PostgreSQL ${plan.dataMajor}; this release has ${pinned}`;
    checks.push(
      warning("database", detail, "the next start brings it up; `leoflow upgrade --check` tells what that takes"),
    );
  }
  if (installed) checks.push(await controlData(bin, join(paths.managedPostgres, "data")));
  return checks;
}

async function programs(bin: string, installed: boolean, pinned: string, needed: boolean): Promise<Check> {
  const fix = "`leoflow setup` or the next start installs them";
  if (!installed) {
    const detail = `programs of ${pinned} are not installed`;
    return needed ? problem("PostgreSQL", detail, fix) : warning("PostgreSQL", `${detail} yet`, fix);
  }
  const asked = await runCommand([join(bin, "postgres"), "--version"]);
  if (asked.code !== 0) {
    const reason = asked.output.trim().split("\n").at(-1) ?? "";
    return problem("PostgreSQL", `${join(bin, "postgres")} does not run: ${reason}`, `remove ${bin}; ${fix}`);
  }
  return ok("PostgreSQL", asked.stdout.trim());
}

async function controlData(bin: string, data: string): Promise<Check> {
  const name = "data folder";
  const missing = ["base", "global/pg_control", "pg_wal", "postgresql.conf"].filter(
    (each) => !existsSync(join(data, each)),
  );
  if (missing.length > 0) return problem(name, `${data} lacks ${missing.join(", ")}`, RESTORE);
  const result = await runCommand([join(bin, "pg_controldata"), "-D", data], { env: { LC_ALL: "C" } });
  const value = (key: string) => new RegExp(`^${key}:\\s+(.*)$`, "m").exec(result.stdout)?.[1];
  const state = value("Database cluster state");
  if (result.code !== 0 || state === undefined || /CRC|corrupt/i.test(result.output)) {
    return problem(name, `${data}/global/pg_control is damaged`, RESTORE);
  }
  const checksums = value("Data page checksum version") === "0" ? "without page checksums" : "with page checksums";
  const stopped = state === "shut down" || readPostmasterFile(data) !== undefined;
  const detail = `${data}, ${checksums}, ${state}`;
  return ok(name, stopped ? detail : `${detail}: it was not shut down in order; the next start recovers it`);
}

/** What only the database can tell; where it does not run, that is said and it stays stopped. */
export async function examineDatabase(patient: Patient): Promise<Check[]> {
  const { paths } = patient;
  if (!hasDatastore(paths)) return [];
  const server = readPostmasterFile(join(paths.managedPostgres, "data"));
  if (!server || !isAlive(server.pid)) {
    const left = server ? `; postmaster.pid of process ${server.pid} was left, the next start clears it` : "";
    return [ok("server", `stopped${left}; schema and import errors are known while it runs`)];
  }
  if (server.status !== "ready")
    return [warning("server", `process ${server.pid} is ${server.status}`, "ask again in a moment")];
  const connection = openDatabase({ ...databaseOf(paths.managedPostgres, server.socketDir), maxConnections: 1 });
  try {
    const facts = await healthFacts(connection.db);
    const bytes = formatBytes(await databaseBytes(connection.pool));
    const verdict = await readSchema(connection.pool);
    return [
      ok("server", `PostgreSQL ${facts.version}, process ${server.pid}, ${bytes}`),
      checksums(facts.checksumFailures),
      databaseClock(facts.nowMs),
      schema(verdict),
      ...(verdict.kind === "readable" && verdict.pending.length === 0 ? [await dags(connection.db)] : []),
    ];
  } catch (error) {
    return [
      problem(
        "server",
        `process ${server.pid} does not answer: ${(error as Error).message}`,
        `look into ${join(paths.managedPostgres, "postgres.log")}`,
      ),
    ];
  } finally {
    await connection.close();
  }
}

function checksums(failures: number): Check {
  if (failures === 0) return ok("checksums", "no damaged page was met");
  return problem(
    "checksums",
    `${failures} damaged pages were met: the disk or memory is failing`,
    `${RESTORE}, on another disk`,
  );
}

/** A machine that slept or a clock that was set while PostgreSQL ran. */
export function databaseClock(nowMs: number): Check {
  const seconds = Math.round(Math.abs(nowMs - Date.now()) / 1000);
  if (seconds * 1000 <= CLOCK_DRIFT_MS) return ok("database clock", "the same as this machine's");
  return warning("database clock", `${seconds} s away from this machine's`, "set the clock and start Leoflow again");
}

function schema(verdict: Awaited<ReturnType<typeof readSchema>>): Check {
  if (verdict.kind !== "readable") {
    const { message, fix } = schemaError(verdict);
    return problem("schema", message, fix ?? "install the release that made it");
  }
  const newest = loadMigrations().at(-1)?.version ?? 0;
  if (verdict.pending.length === 0) return ok("schema", `version ${verdict.current}, as this release has it`);
  return warning(
    "schema",
    `version ${verdict.current}; this release knows ${newest}`,
    "restart Leoflow: it migrates on its start (`leoflow upgrade --check` tells what that takes)",
  );
}

async function dags(db: Database): Promise<Check> {
  const { dags: count, importErrors } = await countDagFiles(db);
  if (importErrors.length === 0) return ok("DAGs", `${count}, no import errors`);
  const some = `${importErrors.slice(0, 3).join(", ")}${importErrors.length > 3 ? ", …" : ""}`;
  return warning(
    "DAGs",
    `${count}; ${importErrors.length} files with import errors: ${some}`,
    "the web interface shows each error in full (Import Errors)",
  );
}

/** Clusters that an upgrade of PostgreSQL left, for their size. */
export function examineOldClusters({ paths }: Patient): Check[] {
  if (!existsSync(paths.managedPostgres)) return [];
  const old = readdirSync(paths.managedPostgres).filter((name) => /^data\.old-\d+$/.test(name));
  return old.length === 0 ? [] : [ok("old clusters", `${old.join(", ")}: kept until the new one has started twice`)];
}

/** For checks that throw what a user can act on. */
export function asProblem(name: string, error: unknown): Check {
  const { message } = error as Error;
  if (error instanceof UserError) return problem(name, message, error.fix ?? "look at the message");
  return problem(
    name,
    `could not be checked: ${message}`,
    "please report this with the output of `leoflow doctor --json`",
  );
}
