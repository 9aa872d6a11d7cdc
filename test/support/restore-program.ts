import { pino } from "pino";
import { resolvePaths } from "../../src/lite/paths.ts";
import { silentProgress } from "../../src/lite/progress.ts";
import { restoreInstallation } from "../../src/lite/restore/restore.ts";

// Restores an archive over a home and ends itself with SIGKILL at the n-th step, or at the first of a name; with 0 it goes
// through. One line of JSON says which step that was.
const [home = "", archive = "", userHome = "", killAt = "0", ...flags] = process.argv.slice(2);
let steps = 0;
try {
  await restoreInstallation({
    paths: resolvePaths(home),
    logger: pino({ level: "silent" }),
    progress: silentProgress,
    runtimeDir: undefined,
    archive,
    environment: { userHome, workspace: undefined },
    force: true,
    dryRun: false,
    snapshot: flags.includes("--snapshot"),
    say: () => undefined,
    onStep: (name) => {
      steps++;
      if (name !== killAt && steps !== Number(killAt)) return;
      process.stdout.write(`${JSON.stringify({ name })}\n`);
      process.kill(process.pid, "SIGKILL");
    },
  });
  process.stdout.write(`${JSON.stringify({ steps })}\n`);
} catch (error) {
  process.stdout.write(
    `${JSON.stringify({ error: (error as Error).message, fix: (error as { fix?: string }).fix })}\n`,
  );
  process.exitCode = 1;
}
