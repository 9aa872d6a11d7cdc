import { accessSync, constants, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { formatBytes } from "../../kit/bytes.ts";
import { isBackupName } from "../../backup/backup-name.ts";
import { readConfigFile } from "../config-file.ts";
import { hasDatastore } from "../datastore.ts";
import { freeBytesOf } from "../upgrade/free-bytes.ts";
import { listSnapshots } from "../upgrade/snapshot.ts";
import { DagFileFinder } from "../workspace/discovery.ts";
import { ok, problem, warning, type Check, type Patient } from "./check.ts";

const GB = 1e9;
const DAY_MS = 86_400_000;
const OLD_BACKUP_DAYS = 30;
const SECRETS = ["jwt_secret", "fernet_key", "admin_password_hash"] as const;

/** Settings: valid, private, complete. */
export function examineConfig({ paths, environment }: Patient): Check[] {
  const name = "config.yaml";
  if (!existsSync(paths.home))
    return [warning(name, `not set up yet: ${paths.home} does not exist`, "run `leoflow setup`")];
  if (!existsSync(paths.config))
    return [warning(name, `not set up yet: no ${paths.config}`, "run `leoflow setup`"), ...open(paths.home, 0o700)];
  const config = readConfigFile(paths, environment);
  const missing = SECRETS.filter((key) => config?.[key] === undefined);
  const checks = [...open(paths.home, 0o700), ...open(paths.config, 0o600)];
  if (missing.includes("fernet_key") && hasDatastore(paths)) {
    checks.push(
      problem(
        name,
        "fernet_key is missing: connections and variables in the database cannot be read",
        "put the key back from a backup of config.yaml",
      ),
    );
  } else if (missing.length > 0) {
    checks.push(
      warning(name, `without ${missing.join(", ")}`, "the next start makes them; who is signed in may have to again"),
    );
  } else checks.push(ok(name, `valid, private, workspace ${config?.workspace ?? "by default"}`));
  return checks;
}

/** Others must not read keys. */
function open(path: string, wanted: number): Check[] {
  const mode = statSync(path).mode & 0o777;
  if ((mode & ~wanted) === 0) return [];
  const octal = (bits: number) => bits.toString(8).padStart(4, "0");
  return [
    warning(
      "permissions",
      `${path} has mode ${octal(mode)}: others may read keys in it`,
      `\`chmod ${octal(wanted).slice(1)} ${path}\``,
    ),
  ];
}

/** What commands left that were cut short. */
export function examineLeftovers({ paths, lock }: Patient): Check[] {
  const checks: Check[] = [];
  if (lock?.living)
    checks.push(
      ok(
        "Leoflow Lite",
        `runs, process ${lock.pid}${lock.url ? `, ${lock.url}` : " (starting, or a command at work)"}`,
      ),
    );
  else
    checks.push(
      ok(
        "Leoflow Lite",
        lock ? `stopped; the lock of process ${lock.pid} was left, the next start takes it` : "stopped",
      ),
    );
  if (existsSync(paths.restoreJournal) && !lock?.living) {
    checks.push(warning("restore", "one was cut short", "the next start finishes it or takes it back"));
  }
  return checks;
}

export async function examineWorkspace({ workspace, config }: Patient): Promise<Check[]> {
  const name = "workspace";
  if (!existsSync(workspace)) {
    const detail = `${workspace} does not exist`;
    const fix = "the next start makes it; or set `workspace` in config.yaml to where your DAGs are";
    return [config ? warning(name, detail, fix) : ok(name, `${detail} yet`)];
  }
  try {
    if (!statSync(workspace).isDirectory()) throw new Error("it is not a folder");
    accessSync(workspace, constants.R_OK | constants.X_OK);
  } catch (error) {
    return [
      problem(
        name,
        `cannot read ${workspace}: ${(error as Error).message}`,
        `make it readable for you: \`chmod u+rx ${workspace}\``,
      ),
    ];
  }
  const { dagFiles, unreadable, problems } = await new DagFileFinder(workspace, "glob").scan();
  const detail = `${workspace}, ${dagFiles.size} DAG ${dagFiles.size === 1 ? "file" : "files"}`;
  const [first] = [...unreadable.map(({ relPath, message }) => `${relPath}: ${message}`), ...problems];
  return [
    first === undefined ? ok(name, detail) : warning(name, `${detail}; ${first}`, "make all of it readable for you"),
  ];
}

export function examineDisk({ paths, workspace }: Patient): Check[] {
  const first = !hasDatastore(paths);
  return [...new Set([paths.home, workspace])].map((folder) => {
    const free = freeBytesOf(folder);
    const detail = `${formatBytes(free)} free where ${folder} is`;
    const least = folder === paths.home && first ? GB : GB / 5;
    if (free < GB / 10)
      return problem("disk", detail, "free some space: PostgreSQL stops in the middle of work on a full disk");
    return free < least
      ? warning("disk", detail, `free some space; ${formatBytes(least)} are a good reserve`)
      : ok("disk", detail);
  });
}

export function examineBackups({ paths, environment }: Patient): Check[] {
  const snapshots = listSnapshots(paths);
  const checks = snapshots.length === 0 ? [] : [ok("snapshots", `${snapshots.length}, the newest ${snapshots[0]}`)];
  if (!hasDatastore(paths)) return checks;
  const folders = [
    ...new Set([process.cwd(), environment.userHome, join(environment.userHome, "backups"), paths.home]),
  ];
  const found = folders.flatMap(backupsIn).sort((a, b) => b.at - a.at);
  const [newest] = found;
  if (!newest) {
    return [
      ...checks,
      warning("backup", `none in ${folders.join(", ")}`, "`leoflow lite backup` makes one, also while Leoflow runs"),
    ];
  }
  const days = Math.floor((Date.now() - newest.at) / DAY_MS);
  const detail = `${newest.file}, ${days === 0 ? "made today" : `${days} ${days === 1 ? "day" : "days"} old`}`;
  return [
    ...checks,
    days > OLD_BACKUP_DAYS ? warning("backup", detail, "`leoflow lite backup` makes a new one") : ok("backup", detail),
  ];
}

function backupsIn(folder: string): { file: string; at: number }[] {
  try {
    return readdirSync(folder)
      .filter(isBackupName)
      .map((name) => join(folder, name))
      .map((file) => ({ file, at: statSync(file).mtimeMs }));
  } catch {
    return [];
  }
}

/** The end of the log that says what went wrong last. */
export function examineLog({ paths }: Patient): Check[] {
  const file = join(paths.logs, "leoflow.log");
  if (!existsSync(file)) return [];
  const since = Date.now() - DAY_MS;
  let count = 0;
  for (const line of readFileSync(file, "utf8").split("\n")) {
    if (!/"level":(50|60|"error"|"fatal")/.test(line)) continue;
    const time = /"time":"?([^",]+)/.exec(line)?.[1] ?? "";
    const at = /^\d+$/.test(time) ? Number(time) : Date.parse(time);
    if (at > since) count++;
  }
  if (count === 0) return [ok("log", "no errors within a day")];
  return [warning("log", `${count} errors within a day`, `look into ${file}`)];
}
