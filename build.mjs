// One esbuild call: src/main.ts and its lazily loaded parts become dist/. Migrations are embedded as text.
import { build } from "esbuild";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const DAY_MS = 24 * 60 * 60 * 1000;

const started = performance.now();
const root = dirname(fileURLToPath(import.meta.url));
const dist = join(root, "dist");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const migrations = readdirSync(join(root, "migrations"))
  .filter((file) => file.endsWith(".sql"))
  .sort()
  .map((file) => ({
    version: Number(file.slice(0, 4)),
    name: file.slice(5, -4),
    sql: readFileSync(join(root, "migrations", file), "utf8"),
  }));
const { outputFiles } = await build({
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
  write: false,
});
// A Leoflow that runs from dist/ may still load its parts: they are named by their content and stay for a day, each file
// is whole at any moment, and main.js comes last.
mkdirSync(dist, { recursive: true });
const isEntry = ({ path }) => basename(path) === "main.js";
for (const file of outputFiles.sort((a, b) => Number(isEntry(a)) - Number(isEntry(b)))) {
  writeFileSync(`${file.path}.${process.pid}`, file.contents);
  renameSync(`${file.path}.${process.pid}`, file.path);
}
const current = new Set(outputFiles.map(({ path }) => basename(path)));
for (const name of readdirSync(dist).filter((file) => !current.has(file))) {
  const file = join(dist, name);
  if (Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0) > DAY_MS) rmSync(file, { force: true });
}
console.log(`built dist/ in ${Math.round(performance.now() - started)} ms`);
