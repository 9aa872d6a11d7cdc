import type { Command } from "commander";
import { runCommandWork, type CommandContext } from "./command-context.ts";
import { tableText } from "./remote/table.ts";

interface CreateOptions {
  queues?: string;
  expires?: string;
  json?: boolean;
}

/** The commands of `leoflow auth` for the tokens of agents. */
export function addAgentTokenCommands(auth: Command): void {
  auth
    .command("create-agent-token <name>")
    .description(
      "Make a token for leoflow-agent, and show it once. As long as it is valid, tasks of its queues are run by agents alone; " +
        "a Leoflow that runs takes it within five seconds.",
    )
    .option("--queues <queues>", "what its agents may run, with commas between: default without it")
    .option("--expires <time>", "so long it is valid: 90s, 30m, 12h, 30d; without it for ever")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  leoflow auth create-agent-token gpu-box --queues gpu\n" +
        "  leoflow auth create-agent-token site-2 --queues etl,reports --expires 90d --json | jq -r .token > token\n",
    )
    .action((name: string, options: CreateOptions) =>
      runCommandWork(async (context) => {
        const made = await (await work()).create(context, { name, queues: options.queues, expires: options.expires });
        context.logger.info({ agentToken: name, queues: made.queues }, "a token for agents was made");
        const until = made.expires_at === null ? "" : `\n    Expires    ${made.expires_at.replace(/\.\d+/, "")}`;
        answer(
          context,
          options,
          made,
          `  ✓ Token ${name} made; tasks of ${queuesText(made.queues)} are run by its agents alone\n\n` +
            `    Token      ${made.token}   (shown only now)${until}\n\n`,
        );
      }),
    );

  auth
    .command("list-agent-tokens")
    .description("Show the tokens of agents, the queues they are for, and how many agents are connected.")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  leoflow auth list-agent-tokens\n  leoflow auth list-agent-tokens --json | jq '.agent_tokens[].name'\n",
    )
    .action((options: { json?: boolean }) =>
      runCommandWork(async (context) => {
        const tokens = await (await work()).list(context);
        const text = tableText(
          context.terminal,
          [
            { title: "NAME", of: ({ name }) => name },
            { title: "QUEUES", of: ({ queues }) => queues.join(",") },
            { title: "AGENTS", of: ({ sessions }) => sessions },
            { title: "LAST SEEN", of: ({ last_seen_at }) => last_seen_at?.replace(/\.\d+/, "") ?? "never" },
            { title: "EXPIRES", of: ({ expires_at }) => expires_at?.replace(/\.\d+/, "") ?? "never" },
          ],
          tokens,
        );
        answer(
          context,
          options,
          { agent_tokens: tokens, total_entries: tokens.length },
          tokens.length === 0 ? "  No tokens.\n" : text.replace(/^/gm, "  ").trimEnd() + "\n",
        );
      }),
    );

  auth
    .command("revoke-agent-token <name>")
    .description(
      "Remove a token. Its agents are refused from the next request on, and what they run counts as lost. Queues that no other " +
        "token names are Leoflow's own again.",
    )
    .option("--json", "as JSON")
    .addHelpText("after", "\nExamples:\n  leoflow auth revoke-agent-token gpu-box\n")
    .action((name: string, options: { json?: boolean }) =>
      runCommandWork(async (context) => {
        await (await work()).revoke(context, name);
        context.logger.info({ agentToken: name }, "a token for agents was revoked");
        answer(context, options, { revoked: name }, `  ✓ Token ${name} revoked\n`);
      }),
    );
}

// Imported late: `leoflow version` needs neither jose nor a database.
const work = () => import("./agent-tokens-work.ts");

function answer({ terminal }: CommandContext, { json }: { json?: boolean }, value: object, text: string): void {
  terminal.write(json ? `${JSON.stringify(value, null, 2)}\n` : text);
}

function queuesText(queues: readonly string[]): string {
  return `${queues.length === 1 ? "queue" : "queues"} ${queues.join(", ")}`;
}
