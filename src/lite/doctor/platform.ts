import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { release } from "node:os";
import { pinnedUvVersion } from "../python/uv.ts";
import { programVersion } from "../../kit/version.ts";
import { loadMigrations } from "../../store/migrations.ts";
import { pinnedPostgresVersion } from "../postgres/install.ts";
import { PINNED_PYTHON } from "../python/toolchain.ts";
import { ok, problem, warning, type Check, type Patient } from "./check.ts";

/** A folder takes one, and Leoflow watches folders only. */
const FEW_WATCHES = 8192;
const EARLIEST_YEAR = 2026;
const LATEST_YEAR = 2100;

export function examinePlatform(patient: Patient): Check[] {
  return [platform(), wsl(patient), user(), year(), watches(patient)].filter((check) => check !== undefined);
}

export function examineProgram({ paths }: Patient): Check[] {
  const schema = loadMigrations().at(-1)?.version ?? 0;
  const versions = `schema ${schema}, CPython ${PINNED_PYTHON}, PostgreSQL ${pinnedPostgresVersion(paths)}, uv ${pinnedUvVersion(paths)}`;
  return [ok("Leoflow", `${programVersion} (${versions}, Node ${process.versions.node}) in ${paths.program}`)];
}

function platform(): Check {
  const { platform: os, arch } = process;
  const name = `${os} ${release()}, ${arch}${os === "linux" ? `, ${libc()}` : ""}`;
  if (!["linux", "darwin"].includes(os) || !["x64", "arm64"].includes(arch)) {
    return problem("platform", `${name} is not supported`, "use Linux or macOS on x64 or arm64; on Windows use WSL 2");
  }
  if (os === "linux" && libc() === "musl") {
    return warning(
      "platform",
      `${name}: the managed PostgreSQL and Python need glibc`,
      "use a distribution with glibc (Debian, Ubuntu, Fedora, …), also inside a container",
    );
  }
  return ok("platform", name);
}

function libc(): string {
  // glibc says which one it is; musl says nothing.
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime === undefined ? "musl" : `glibc ${header.glibcVersionRuntime}`;
}

/** Windows' own drives tell nothing of changes, and PostgreSQL cannot trust them. */
function wsl({ paths, workspace }: Patient): Check | undefined {
  if (!/microsoft|wsl/i.test(release())) return undefined;
  const slow = [paths.home, workspace].filter((folder) => /^\/mnt\/[a-z](\/|$)/.test(folder));
  if (slow.length === 0) return ok("WSL", "home and workspace are on Linux's own disk");
  return warning(
    "WSL",
    `${slow.join(" and ")} is on a Windows drive: slow, and changes of files are not told`,
    "move it below your Linux home, for example ~/leoflow, and set `workspace` in config.yaml",
  );
}

function user(): Check {
  const isRoot = process.getuid?.() === 0;
  const container = existsSync("/.dockerenv") || existsSync("/run/.containerenv") || "container" in ownNamespaceMarks();
  const where = container ? ", in a container" : "";
  if (!isRoot) return ok("user", `uid ${process.getuid?.() ?? "?"}${where}`);
  const detail = `root${where}; PostgreSQL runs as another user through a user namespace or setpriv`;
  return container ? ok("user", detail) : warning("user", detail, "run Leoflow as a user of its own");
}

/** What systemd-nspawn, LXC and podman tell the first process. */
function ownNamespaceMarks(): Record<string, string> {
  try {
    const pairs = readFileSync("/proc/1/environ", "utf8").split("\0");
    return Object.fromEntries(pairs.map((pair) => [pair.split("=")[0] ?? "", pair]));
  } catch {
    return {};
  }
}

function year(): Check {
  const now = new Date();
  const detail = `${now.toISOString().slice(0, 19)}Z, time zone ${timeZone()}`;
  if (now.getUTCFullYear() >= EARLIEST_YEAR && now.getUTCFullYear() <= LATEST_YEAR) return ok("clock", detail);
  return problem(
    "clock",
    `${detail}: that cannot be right; schedules and sessions depend on it`,
    "set the clock, or switch on time synchronisation (`timedatectl set-ntp true`)",
  );
}

function timeZone(): string {
  const { timeZone: name } = Intl.DateTimeFormat().resolvedOptions();
  try {
    return name || readlinkSync("/etc/localtime");
  } catch {
    return "unknown";
  }
}

function watches({ workspace }: Patient): Check | undefined {
  if (process.platform !== "linux") return undefined;
  const limit = Number(readFileSync("/proc/sys/fs/inotify/max_user_watches", "utf8"));
  const instances = Number(readFileSync("/proc/sys/fs/inotify/max_user_instances", "utf8"));
  const detail = `${limit} watches, ${instances} instances for each user`;
  if (limit >= FEW_WATCHES && instances >= 16) return ok("file watching", detail);
  return warning(
    "file watching",
    `${detail}: where they do not suffice, Leoflow looks through ${workspace} every 3 seconds instead`,
    "`sudo sysctl fs.inotify.max_user_watches=65536 fs.inotify.max_user_instances=128`",
  );
}
