import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { runCommand } from "../command.ts";
import { METRICS_PORT } from "../metrics.ts";
import { checkPort } from "../preconditions.ts";
import { ok, problem, warning, type Check, type Patient } from "./check.ts";

const PYPI = "https://pypi.org/simple/uv/";
const PYPI_MS = 10_000;

export async function examinePorts({ port, lock, environment }: Patient): Promise<Check[]> {
  const lite = lock?.living ? lock : undefined;
  const own = lite?.url ? Number(new URL(lite.url).port) : undefined;
  const host = environment.host ?? "127.0.0.1";
  return [
    await portCheck("port", own ?? port, host, lite?.pid, (by) =>
      problem("port", `${port} is taken by ${by}`, `stop it, or set \`lite_port\` in config.yaml to another`),
    ),
    await portCheck("metrics port", METRICS_PORT, "127.0.0.1", lite?.pid, (by) =>
      warning(
        "metrics port",
        `${METRICS_PORT} is taken by ${by}: Leoflow starts without metrics`,
        "stop that program if you want metrics",
      ),
    ),
  ];
}

async function portCheck(
  name: string,
  port: number,
  host: string,
  lite: number | undefined,
  taken: (by: string) => Check,
): Promise<Check> {
  try {
    await checkPort(port, host);
    return ok(name, `${port} is free`);
  } catch (error) {
    const owner = await listenerOf(port);
    if (owner !== undefined && owner.pid === lite) return ok(name, `${port}, used by this Leoflow`);
    if ((error as Error).cause === undefined || (error as { cause: { code?: string } }).cause.code !== "EADDRINUSE") {
      return problem(name, (error as Error).message, (error as { fix?: string }).fix ?? "choose another");
    }
    return taken(owner ? `process ${owner.pid} (${owner.command})` : "another program");
  }
}

/** Who listens, as far as this user may know. */
async function listenerOf(port: number): Promise<{ pid: number; command: string } | undefined> {
  if (process.platform !== "linux") {
    const result = await runCommand(["lsof", "-nP", `-iTCP:${port}`, "-sTCP:LISTEN", "-Fpc"]);
    const [, pid, command] = /p(\d+)\nc(.*)/.exec(result.stdout) ?? [];
    return pid === undefined ? undefined : { pid: Number(pid), command: command ?? "" };
  }
  const inodes = new Set(["/proc/net/tcp", "/proc/net/tcp6"].flatMap((file) => listening(file, port)));
  if (inodes.size === 0) return undefined;
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    const sockets = linksIn(`/proc/${pid}/fd`);
    if (sockets.some((link) => inodes.has(/^socket:\[(\d+)\]$/.exec(link)?.[1] ?? ""))) {
      return { pid: Number(pid), command: readText(`/proc/${pid}/comm`).trim() };
    }
  }
  return undefined;
}

function listening(file: string, port: number): string[] {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const rows = readText(file).split("\n").slice(1);
  const cells = rows.map((row) => row.trim().split(/\s+/));
  return cells.filter(([, local, , state]) => local?.endsWith(`:${hex}`) && state === "0A").map((row) => row[9] ?? "");
}

function linksIn(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => {
      try {
        return readlinkSync(`${folder}/${name}`);
      } catch {
        return "";
      }
    });
  } catch {
    return [];
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

/** Only when asked: doctor itself sends nothing anywhere. */
export async function examineNetwork({ network, environment }: Patient): Promise<Check[]> {
  if (!network) return [];
  const url = environment.packageIndex ? `${environment.packageIndex.replace(/\/$/, "")}/uv/` : PYPI;
  const began = performance.now();
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(PYPI_MS) });
    await response.body?.cancel();
    if (response.ok)
      return [ok("network", `${new URL(url).host} answers within ${Math.round(performance.now() - began)} ms`)];
    return [
      warning("network", `${url} answers ${response.status}`, "check proxy and mirror: HTTPS_PROXY, UV_DEFAULT_INDEX"),
    ];
  } catch (error) {
    const { message, cause } = error as Error;
    const reason = cause instanceof Error ? cause.message : message;
    return [
      warning(
        "network",
        `${url}: ${reason}`,
        "packages cannot be installed without it; behind a proxy set HTTPS_PROXY, with a mirror UV_DEFAULT_INDEX",
      ),
    ];
  }
}
