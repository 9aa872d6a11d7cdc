import { runServerCli } from "./cli/server-cli.ts";

const exitCode = await runServerCli(process.argv.slice(2));
if (exitCode !== 0) process.exit(exitCode);
