// `npm run bench`: bundles bench/main.ts, as Node 20 cannot run TypeScript, and runs it. `-- upgrade`, `-- backup`, `-- scale`: those.
import { readdirSync, readFileSync } from "node:fs";
import { build } from "esbuild";

const path = (name) => new URL(name, import.meta.url).pathname;
const which = ["upgrade", "backup", "scale"].includes(process.argv[2]) ? process.argv.splice(2, 1)[0] : "main";
const outfile = path("../.cache/bench.mjs");
const migrations = readdirSync(path("../migrations"))
  .filter((file) => file.endsWith(".sql"))
  .sort()
  .map((file) => ({
    version: Number(file.slice(0, 4)),
    name: file.slice(5, -4),
    sql: readFileSync(path(`../migrations/${file}`), "utf8"),
  }));
await build({
  entryPoints: [path(`${which}.ts`)],
  outfile,
  bundle: true,
  packages: "external",
  platform: "node",
  target: "node20",
  format: "esm",
  define: {
    BENCH_ROOT: JSON.stringify(path("..")),
    LEOFLOW_MIGRATIONS: JSON.stringify(migrations),
    LEOFLOW_VERSION: JSON.stringify(JSON.parse(readFileSync(path("../package.json"), "utf8")).version),
  },
});
await import(outfile);
