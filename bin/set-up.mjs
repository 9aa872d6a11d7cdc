// What `npm start` and `npm test` do before anything else: npm packages from the lockfile, and the build.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** `npm ci` where node_modules is missing or older than the lockfile. */
export function installPackages() {
  if (modified("node_modules/.package-lock.json") >= modified("package-lock.json")) return;
  run("Install npm packages", "npm", ["ci", "--no-audit", "--no-fund"]);
}

/** The build, where something that goes into it is newer. */
export function buildIfStale() {
  const newest = Math.max(
    ...["src", "sdk/typescript/src", "web", "migrations"].map(newestIn),
    modified("build.mjs"),
    modified("package.json"),
  );
  if (modified("dist/main.js") < newest) run("Build Leoflow", process.execPath, ["build.mjs"]);
}

/** `leoflow lite` in this very process: one Node less in memory. */
export async function startLite(args) {
  installPackages();
  buildIfStale();
  endWithParent();
  process.argv.splice(1, process.argv.length, join(root, "bin/leoflow"), "lite", ...args);
  await import("../dist/main.js");
}

/** A SIGTERM for npm ends only npm and its shell. Their end is ours, or Leoflow would run on without an owner. */
function endWithParent() {
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  setInterval(() => process.ppid !== parent && process.kill(process.pid, "SIGTERM"), 500).unref();
}

function modified(path) {
  const file = join(root, path);
  return existsSync(file) ? statSync(file).mtimeMs : 0;
}

function newestIn(folder) {
  let newest = 0;
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) newest = Math.max(newest, newestIn(path));
    else if (!entry.name.endsWith(".test.ts")) newest = Math.max(newest, modified(path));
  }
  return newest;
}

function run(title, command, args) {
  const started = performance.now();
  const tty = process.stdout.isTTY;
  process.stdout.write(tty ? `  … ${title}` : `  ${title} ...\n`);
  const result = spawnSync(command, args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 26 });
  const took = `${((performance.now() - started) / 1000).toFixed(1)} s`;
  const mark = result.status === 0 ? "✓" : "✗";
  process.stdout.write(`${tty ? "\r\u001b[K" : ""}  ${mark} ${title.padEnd(34)} ${took}\n`);
  if (result.status === 0) return;
  const output = `${result.stdout ?? ""}${result.stderr ?? ""}${result.error?.message ?? ""}`;
  const last = output.trim().split("\n").slice(-15).join("\n");
  const again = `${[command, ...args].join(" ")} in ${root} shows more`;
  process.stderr.write(`error: could not ${title[0].toLowerCase()}${title.slice(1)}:\n${last}\n`);
  process.stderr.write(`  fix: ${wayOut(output) ?? again}\n`);
  process.exit(1);
}

function wayOut(output) {
  if (/ENOSPC|no space left/i.test(output)) return "the disk is full: free about 1 GB and run the same command again";
  if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ECONNRESET|network/i.test(output)) {
    return (
      "npm packages come from the npm registry: connect to the network, or set a mirror with `npm config set registry URL`, " +
      "and run the same command again"
    );
  }
  return undefined;
}
