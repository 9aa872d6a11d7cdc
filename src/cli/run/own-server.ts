import { readConfigFile } from "../../lite/config-file.ts";
import { setUp } from "../../lite/setup.ts";
import type { StartControlPlane } from "../../lite/start.ts";
import type { Progress } from "../../lite/progress.ts";
import { startTrial, type Trial } from "../../lite/trial.ts";
import type { CommandContext } from "../command-context.ts";
import { TerminalProgress, type Terminal } from "../terminal-progress.ts";

const SLOW_MS = 1_500;

/** A Leoflow for one run, set up first where there is none; null: one is up that takes it. What it does goes to stderr. */
export async function startOwn(
  context: CommandContext,
  loadControlPlane: () => Promise<StartControlPlane>,
): Promise<Trial | null> {
  const { paths, environment, logger, signal } = context;
  const controlPlane = loadControlPlane();
  controlPlane.catch(() => undefined);
  const terminal = errorTerminal(context.terminal);
  const isNew = readConfigFile(paths, environment)?.admin_password_hash === undefined;
  if (isNew) {
    const progress = new TerminalProgress(terminal);
    const { downloadError } = await setUp({
      ...{ ...context, progress, chosen: {}, download: true },
      onPassword: (password, { email }) =>
        progress.note(`The web interface's login, shown only now: ${email}, password ${password}`),
    });
    if (downloadError !== undefined) throw downloadError as Error;
  }
  return await startTrial({
    ...{ paths, environment, logger, signal },
    progress: onlySlowSteps(terminal),
    startControlPlane: async (options) => (await controlPlane)(options),
  });
}

/** Says what it does only where somebody would wonder. */
function onlySlowSteps(terminal: Terminal): Progress {
  const note = (text: string) => terminal.write(`  ${text}\n`);
  return {
    async step(title, work) {
      const slow = setTimeout(() => note(`${title} ...`), SLOW_MS);
      try {
        return await work(() => undefined);
      } finally {
        clearTimeout(slow);
      }
    },
    note,
  };
}

function errorTerminal(terminal: Terminal): Terminal {
  const { stderr } = process;
  return {
    write: (text) => void stderr.write(text),
    isTTY: stderr.isTTY,
    columns: terminal.columns,
    colour: stderr.isTTY && terminal.colour,
  };
}
