// `npm run bench`: bundles bench/main.ts, as Node 20 cannot run TypeScript, and runs it.
import { build } from "esbuild";

const outfile = new URL("../.cache/bench.mjs", import.meta.url).pathname;
await build({
  entryPoints: [new URL("main.ts", import.meta.url).pathname],
  outfile,
  bundle: true,
  packages: "external",
  platform: "node",
  target: "node20",
  format: "esm",
  define: { BENCH_ROOT: JSON.stringify(new URL("..", import.meta.url).pathname) },
});
await import(outfile);
