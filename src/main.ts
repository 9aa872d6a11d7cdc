import { runCli } from "./cli/cli.ts";

// The control plane is loaded when it is needed: `leoflow version` should not wait for a web server to be read.
const exitCode = await runCli(process.argv.slice(2), {
  loadControlPlane: async () => (await import("./lite/control-plane.ts")).startControlPlane,
});
// `leoflow lite` goes on running; a failure must end even where something still holds the process.
if (exitCode !== 0) process.exit(exitCode);
