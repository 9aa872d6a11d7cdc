// Node 20 cannot run TypeScript: a script of this repository is bundled before it runs.
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { definitions, forNode } from "../build.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Bundles a script with what it imports of this repository. In it, SCRIPT_FOLDER is its own folder. */
export async function bundleScript(entry, outfile) {
  await build({
    ...forNode,
    entryPoints: [entry],
    outfile,
    packages: "external",
    define: { ...definitions(root), SCRIPT_FOLDER: JSON.stringify(dirname(entry)) },
  });
}

/** Runs a script in this very process. */
export async function runScript(file) {
  const entry = resolve(file);
  // As deep below the root as what it bundles, which looks for files from where it lies.
  const outfile = join(root, ".cache/scripts", `${basename(dirname(entry))}-${basename(entry, ".ts")}.mjs`);
  await bundleScript(entry, outfile);
  await import(pathToFileURL(outfile).href);
}
