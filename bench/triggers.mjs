// `node bench/triggers.mjs [TRIGGERS]`: bundles triggers.ts, as Node 20 cannot run TypeScript, and runs it.
import { build } from "esbuild";

const outfile = new URL("../test/support/.bench-triggers.mjs", import.meta.url).pathname;
await build({
  entryPoints: [new URL("triggers.ts", import.meta.url).pathname],
  outfile,
  bundle: true,
  packages: "external",
  platform: "node",
  target: "node20",
  format: "esm",
});
await import(outfile);
