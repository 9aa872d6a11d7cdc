// Records what the callbacks of callbacks.py note on Airflow itself into outcomes.json:
//   nice -n 15 node test/e2e/callbacks/record.mjs [DAG …]
import { build } from "esbuild";

const outfile = new URL("../../../.cache/callbacks-record.mjs", import.meta.url).pathname;
await build({
  entryPoints: [new URL("record.ts", import.meta.url).pathname],
  outfile,
  bundle: true,
  packages: "external",
  platform: "node",
  target: "node20",
  format: "esm",
  define: { CALLBACKS_FOLDER: JSON.stringify(new URL(".", import.meta.url).pathname) },
});
await import(outfile);
