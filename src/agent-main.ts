import { runAgentCli } from "./cli/agent-cli.ts";

process.exit(await runAgentCli(process.argv.slice(2)));
