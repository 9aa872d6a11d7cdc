// One esbuild call: src/main.ts and its lazily loaded parts become dist/. Migrations are embedded as text.
import { build } from "esbuild";
import { readdirSync, readFileSync, rmSync } from "node:fs";

const started = performance.now();
const { version } = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8"));
const root = new URL(".", import.meta.url).pathname;
const migrations = readdirSync(`${root}migrations`)
  .filter((file) => file.endsWith(".sql"))
  .sort()
  .map((file) => ({
    version: Number(file.slice(0, 4)),
    name: file.slice(5, -4),
    sql: readFileSync(`${root}migrations/${file}`, "utf8"),
  }));
rmSync(`${root}dist`, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: ["src/main.ts"],
  outdir: "dist",
  bundle: true,
  splitting: true,
  packages: "external",
  platform: "node",
  target: "node20",
  format: "esm",
  sourcemap: true,
  define: { LEOFLOW_VERSION: JSON.stringify(version), LEOFLOW_MIGRATIONS: JSON.stringify(migrations) },
  logLevel: "warning",
});
console.log(`built dist/ in ${Math.round(performance.now() - started)} ms`);
