// Records what Airflow makes of the DAGs beside this file into outcomes.json:
//   nice -n 15 node test/e2e/people/record.mjs [DAG …]
import { build } from "esbuild";

const outfile = new URL("../../../.cache/people-record.mjs", import.meta.url).pathname;
await build({
  entryPoints: [new URL("record.ts", import.meta.url).pathname],
  outfile,
  bundle: true,
  packages: "external",
  platform: "node",
  target: "node20",
  format: "esm",
  define: { PEOPLE_FOLDER: JSON.stringify(new URL(".", import.meta.url).pathname) },
});
await import(outfile);
