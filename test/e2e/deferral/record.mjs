// Records what Airflow gives for the DAGs beside this file into outcomes.json.
//   PYTHONPATH=test/e2e/deferral AIRFLOW__CORE__DAGS_FOLDER=$PWD/test/e2e/deferral airflow standalone    (everyone is admin)
//   node test/e2e/deferral/record.mjs http://127.0.0.1:8080 [DAG …]
import { build } from "esbuild";

const outfile = new URL("../../../.cache/deferral-record.mjs", import.meta.url).pathname;
await build({
  entryPoints: [new URL("record.ts", import.meta.url).pathname],
  outfile,
  bundle: true,
  packages: "external",
  platform: "node",
  target: "node20",
  format: "esm",
  define: { DEFERRAL_FOLDER: JSON.stringify(new URL(".", import.meta.url).pathname) },
});
await import(outfile);
