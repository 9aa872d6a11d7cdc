// `nice -n 15 node test/conformance/record.mjs [--python PYTHON] [--only REGEXP] [--keep]`: bundles record.ts, as Node 20
// cannot run TypeScript, and runs it.
import { build } from "esbuild";

const outfile = new URL("../../.cache/conformance-record.mjs", import.meta.url).pathname;
await build({
  entryPoints: [new URL("record.ts", import.meta.url).pathname],
  outfile,
  bundle: true,
  packages: "external",
  platform: "node",
  target: "node20",
  format: "esm",
  define: { CONFORMANCE_FOLDER: JSON.stringify(new URL(".", import.meta.url).pathname) },
});
await import(outfile);
