// Three esbuild calls: every program in src/ (`*main.ts`) and its lazily loaded parts, with migrations as text; our own
// pages (`web/*/main.ts`) for the browser, in dist/web/; and what runs a TypeScript task, in dist/task-runner.js.
// `npm start` writes it to dist/ and leaves npm's packages where they are; a release holds them too (release/program.mjs).
import { build } from "esbuild";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const DAY_MS = 24 * 60 * 60 * 1000;

/** Native code is found beside its package, by the package. */
export const NATIVE_PACKAGE = "@node-rs/argon2";

const ofARelease = {
  external: [NATIVE_PACKAGE, "esbuild", "pg-native"],
  // CommonJS packages want `require`; under names that no package has.
  banner: {
    js: 'import { createRequire as leoflowCreateRequire } from "node:module"; const require = leoflowCreateRequire(import.meta.url);',
  },
  // node_modules may be a link, and paths below it become part of the output.
  preserveSymlinks: true,
};
const ofACheckout = { packages: "external", sourcemap: true };

/** What every bundle of this repository's TypeScript has in common. */
export const forNode = { bundle: true, platform: "node", target: "node20", format: "esm", logLevel: "warning" };

/** What stands in the code for files that a bundle is not beside. */
export function definitions(root) {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const migrations = readdirSync(join(root, "migrations"))
    .filter((file) => file.endsWith(".sql"))
    .sort()
    .map((file) => ({
      version: Number(file.slice(0, 4)),
      name: file.slice(5, -4),
      sql: readFileSync(join(root, "migrations", file), "utf8"),
    }));
  return { LEOFLOW_VERSION: JSON.stringify(version), LEOFLOW_MIGRATIONS: JSON.stringify(migrations) };
}

/** The JavaScript of the program in `root`. */
export function bundle(root, { withPackages }) {
  return build({
    ...forNode,
    absWorkingDir: root,
    entryPoints: entryPoints(root).map((entry) => `src/${entry}.ts`),
    outdir: "dist",
    splitting: true,
    define: definitions(root),
    metafile: true,
    write: false,
    ...(withPackages ? ofARelease : ofACheckout),
  });
}

/** One file: each task starts it anew. */
export function bundleTaskRunner(root) {
  return build({
    ...forNode,
    absWorkingDir: root,
    entryPoints: [{ in: "sdk/typescript/src/main.ts", out: "task-runner" }],
    outdir: "dist",
    write: false,
  });
}

/** The scripts, styles, workers and fonts of our own pages: `editor.js`, `editor.css`, `editor-worker.js`, … */
export function bundlePages(root) {
  return build({
    absWorkingDir: root,
    entryPoints: pageEntries(root),
    outdir: "dist/web",
    bundle: true,
    minify: true,
    platform: "browser",
    target: "es2022",
    format: "esm",
    loader: { ".ttf": "file" },
    assetNames: "[name]-[hash]",
    // Texts of licences are in the release's licenses/packages.txt.
    legalComments: "none",
    logLevel: "warning",
    metafile: true,
    write: false,
    preserveSymlinks: true,
  });
}

/** main.ts is the page, `*-worker.ts` its workers. */
function pageEntries(root) {
  return readdirSync(join(root, "web"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name: page }) =>
      readdirSync(join(root, "web", page))
        .filter((file) => /^(main|.*-worker)\.ts$/.test(file))
        .map((file) => ({
          in: `web/${page}/${file}`,
          out: file === "main.ts" ? page : `${page}-${basename(file, ".ts")}`,
        })),
    );
}

/** "main", "server-main", … */
function entryPoints(root) {
  return readdirSync(join(root, "src"))
    .filter((file) => file.endsWith("main.ts"))
    .map((file) => basename(file, ".ts"))
    .sort();
}

/** A Leoflow that runs from dist/ may still load its parts: they are named by their content and stay for a day, each
 * file is whole at any moment, and the entry points come last, main.js after all. */
function writeFolder(dist, outputFiles) {
  mkdirSync(dist, { recursive: true });
  const rank = ({ path }) => (basename(path) === "main.js" ? 2 : Number(path.endsWith("main.js")));
  for (const file of outputFiles.sort((a, b) => rank(a) - rank(b))) {
    writeFileSync(`${file.path}.${process.pid}`, file.contents);
    renameSync(`${file.path}.${process.pid}`, file.path);
  }
  const current = new Set(outputFiles.map(({ path }) => basename(path)));
  for (const entry of readdirSync(dist, { withFileTypes: true })) {
    const file = join(dist, entry.name);
    if (entry.isDirectory() || current.has(entry.name)) continue;
    if (Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0) > DAY_MS) rmSync(file, { force: true });
  }
}

if (realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const started = performance.now();
  const root = dirname(fileURLToPath(import.meta.url));
  const [program, pages, taskRunner] = await Promise.all([
    bundle(root, { withPackages: false }),
    bundlePages(root),
    bundleTaskRunner(root),
  ]);
  writeFolder(join(root, "dist/web"), pages.outputFiles);
  writeFolder(join(root, "dist"), [...program.outputFiles, ...taskRunner.outputFiles]);
  console.log(`built dist/ in ${Math.round(performance.now() - started)} ms`);
}
