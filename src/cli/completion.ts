import type { Command } from "commander";
import { connectServer } from "./remote/server.ts";
import { addGroup, examplesText, runLocal, type Local } from "./remote/remote-command.ts";

/** Since the process was started; a person who presses Tab waits no longer for a server. */
const ANSWER_LIMIT_MS = 300;

/** `leoflow completion`. */
export function addCompletionCommand(program: Command): void {
  const completion = addGroup(
    program,
    "completion",
    "Print a completion script for a shell. It completes commands, options, their choices and the ids of DAGs.",
    [
      "source <(leoflow completion bash)            now, or in ~/.bashrc",
      "leoflow completion zsh > ~/.zfunc/_leoflow   a folder in $fpath",
      "leoflow completion fish > ~/.config/fish/completions/leoflow.fish",
    ],
  );
  for (const shell of ["bash", "zsh", "fish"] as const) {
    completion
      .command(shell)
      .description(`Print the script for ${shell}.`)
      .addHelpText("after", examplesText([`leoflow completion ${shell}`]))
      .action(() =>
        runLocal(async ({ terminal }) => {
          const { completionScript } = await import("./completion-scripts.ts");
          terminal.write(completionScript(program, shell));
        }),
      );
  }
  completion
    .command("dags [prefix]", { hidden: true })
    .description("Print ids of DAGs, for the scripts; nothing where no server answers at once.")
    .action((prefix: string | undefined) => runLocal((local) => printDags(local, prefix ?? "")));
}

async function printDags(local: Local, prefix: string): Promise<void> {
  const signal = AbortSignal.timeout(Math.max(1, Math.round(ANSWER_LIMIT_MS - performance.now())));
  try {
    const server = await connectServer({ ...local, signal });
    const query = { dag_id_prefix_pattern: prefix, order_by: "dag_id" };
    const { rows } = await server.list<{ dag_id: string }>("/api/v2/dags", "dags", query, 100);
    // Shells expand what they complete: only ids that Airflow allows.
    const ids = rows.map(({ dag_id }) => dag_id).filter((id) => /^[\p{L}\p{N}_.-]+$/u.test(id));
    local.terminal.write(ids.map((id) => `${id}\n`).join(""));
  } catch {
    // No completion is the answer.
  }
}
