import { runCli } from "./cli/cli.ts";

// The control plane is loaded when it is needed: `leoflow version` should not wait for a web server to be read.
const exitCode = await runCli(process.argv.slice(2), {
  startControlPlane: async (options) => (await import("./lite/control-plane.ts")).startControlPlane(options),
});
// `leoflow lite` goes on running; a failure must end even where something still holds the process.
if (exitCode !== 0) process.exit(exitCode);
