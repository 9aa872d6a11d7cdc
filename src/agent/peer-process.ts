import { execFile } from "node:child_process";
import { readdir, readFile, readlink } from "node:fs/promises";
import type { Socket } from "node:net";
import { promisify } from "node:util";
import { delay } from "./delay.ts";

/** A connection that has just been accepted may not be listed yet; Airflow waits as long. */
const VERIFY_MS = 1000;
const PAUSE_MS = 10;

/** Whether a process or a descendant of it holds the other end of this loopback connection: anybody here can find the port. */
export async function isPeer(pid: number, socket: Socket): Promise<boolean> {
  const { remotePort, localPort } = socket;
  if (remotePort === undefined || localPort === undefined) return false;
  const deadline = performance.now() + VERIFY_MS;
  for (;;) {
    if (await holdsConnection(pid, remotePort, localPort)) return true;
    if (performance.now() > deadline) return false;
    await delay(PAUSE_MS);
  }
}

async function holdsConnection(pid: number, from: number, to: number): Promise<boolean> {
  if (process.platform !== "linux") return await isListedByLsof(pid, from, to);
  const inode = await socketInode(from, to);
  if (inode === null) return false;
  for (const each of await descendants(pid)) if (await holdsSocket(each, inode)) return true;
  return false;
}

/** IPv6 programs show 127.0.0.1 as `::ffff:127.0.0.1`; the words are in host order. */
async function socketInode(from: number, to: number): Promise<string | null> {
  const address = (port: number) => `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const lines = (await readFile(table, "latin1").catch(() => "")).split("\n");
    for (const line of lines) {
      const [, local = "", remote = "", , , , , , , inode] = line.trim().split(/\s+/);
      if (local.endsWith(address(from)) && remote.endsWith(address(to)) && inode !== undefined) return inode;
    }
  }
  return null;
}

async function descendants(root: number): Promise<number[]> {
  const found = [root];
  for (const pid of found) {
    for (const thread of await readdir(`/proc/${pid}/task`).catch(() => [])) {
      const children = await readFile(`/proc/${pid}/task/${thread}/children`, "latin1").catch(() => "");
      found.push(...children.split(" ").filter(Boolean).map(Number));
    }
  }
  return found;
}

async function holdsSocket(pid: number, inode: string): Promise<boolean> {
  const folder = `/proc/${pid}/fd`;
  const links = (await readdir(folder).catch(() => [])).map((fd) => readlink(`${folder}/${fd}`).catch(() => ""));
  return (await Promise.all(links)).includes(`socket:[${inode}]`);
}

/** Where there is no /proc. Only the process itself: what a coordinator of ours starts connects by itself. */
async function isListedByLsof(pid: number, from: number, to: number): Promise<boolean> {
  const selection = ["-nP", "-a", "-p", String(pid), `-iTCP@127.0.0.1:${from}`, "-Fn"];
  const listed = await promisify(execFile)("lsof", selection).catch(() => ({ stdout: "" }));
  return listed.stdout.includes(`127.0.0.1:${from}->127.0.0.1:${to}`);
}
