// `node test/script.mjs FILE.ts [ARGUMENT …]`: bundles a script of this repository, as Node 20 cannot run TypeScript, and runs it.
// In it, SCRIPT_FOLDER is its own folder.
import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [script] = process.argv.splice(2, 1);
if (script === undefined) throw new Error("which script? node test/script.mjs FILE.ts");
const entry = resolve(script);
// As deep below the root as what it bundles, which looks for files from where it lies.
const outfile = join(root, ".cache/scripts", `${basename(dirname(entry))}-${basename(entry, ".ts")}.mjs`);
const migrations = readdirSync(join(root, "migrations"))
  .filter((file) => file.endsWith(".sql"))
  .sort()
  .map((file) => ({
    version: Number(file.slice(0, 4)),
    name: file.slice(5, -4),
    sql: readFileSync(join(root, "migrations", file), "utf8"),
  }));
await build({
  entryPoints: [entry],
  outfile,
  bundle: true,
  packages: "external",
  platform: "node",
  target: "node20",
  format: "esm",
  define: {
    SCRIPT_FOLDER: JSON.stringify(dirname(entry)),
    LEOFLOW_MIGRATIONS: JSON.stringify(migrations),
    LEOFLOW_VERSION: JSON.stringify(JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version),
  },
});
await import(pathToFileURL(outfile).href);
