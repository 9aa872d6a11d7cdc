// Records what Airflow makes of the story: `node test/e2e/schedules/record.mjs && npx prettier --write test/e2e/schedules/story.json`.
import { build } from "esbuild";

const outfile = new URL("../../../.cache/schedules-record.mjs", import.meta.url).pathname;
await build({
  entryPoints: [new URL("record.ts", import.meta.url).pathname],
  outfile,
  bundle: true,
  packages: "external",
  platform: "node",
  target: "node20",
  format: "esm",
  define: { SCHEDULES_FOLDER: JSON.stringify(new URL(".", import.meta.url).pathname) },
});
await import(outfile);
