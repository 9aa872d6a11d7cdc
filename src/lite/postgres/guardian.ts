import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { childEnvironment } from "../../kit/config.ts";

/**
 * Ends PostgreSQL when Leoflow is gone without a word (SIGKILL, out of memory, power of the terminal). A shell reads a pipe
 * whose other end only Leoflow holds; the end of the pipe is the end of Leoflow. It works the same on Linux and macOS and
 * costs half a megabyte. It looks the process up in postmaster.pid, so it can be started before PostgreSQL is; a file tells it
 * whether a later Leoflow has taken the folder over, whose PostgreSQL is not its to end.
 */
const SCRIPT = `
trap '' INT TERM HUP QUIT
read -r _
ours() { [ "$(cat "$2" 2>/dev/null)" = "$3" ]; }
tries=0
while [ $tries -lt 30 ]; do
  pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null)
  [ -n "$pid" ] && break
  tries=$((tries + 1)); sleep 0.1
done
ours "$@" || exit 0
[ -n "$pid" ] || { rm -f "$2"; exit 0; }
# A number that now belongs to another program is left alone.
if [ -r "/proc/$pid/cmdline" ]; then grep -q postgres "/proc/$pid/cmdline" || exit 0; fi
kill -INT "$pid" 2>/dev/null
tries=0
while [ $tries -lt 50 ] && kill -0 "$pid" 2>/dev/null; do tries=$((tries + 1)); sleep 0.1; done
ours "$@" || exit 0
kill -QUIT "$pid" 2>/dev/null
rm -f "$2"
exit 0
`;

export interface Guardian {
  /** Once PostgreSQL is down in order. */
  dismiss(): void;
}

export function startGuardian(dataDir: string): Guardian {
  const file = join(dirname(dataDir), `.guardian-${basename(dataDir)}`);
  const token = randomUUID();
  writeFileSync(file, `${token}\n`, { mode: 0o600 });
  let dismissed = false;
  let child: ChildProcess;
  const launch = () => {
    // Its own session: a Ctrl-C at the terminal is for Leoflow alone.
    child = spawn("/bin/sh", ["-c", SCRIPT, "leoflow-guardian", dataDir, file, token], {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
      cwd: "/",
      env: childEnvironment(),
    });
    child.on("error", () => undefined);
    child.stdin?.on("error", () => undefined);
    child.once("exit", () => {
      if (!dismissed) setTimeout(() => dismissed || launch(), 200).unref();
    });
    child.unref();
    (child.stdin as unknown as { unref?: () => void }).unref?.();
  };
  launch();
  return {
    dismiss() {
      dismissed = true;
      child.kill("SIGKILL");
      if (contentOf(file) === token) rmSync(file, { force: true });
    },
  };
}

function contentOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8").trim();
  } catch {
    return undefined;
  }
}
