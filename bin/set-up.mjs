// `npm start`: installs what is missing, builds what is newer than its build, then runs `leoflow lite` in this process.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = (path) => join(root, path);

function modified(path) {
  return existsSync(at(path)) ? statSync(at(path)).mtimeMs : 0;
}

function newestIn(folder) {
  let newest = 0;
  for (const entry of readdirSync(at(folder), { withFileTypes: true })) {
    const path = join(folder, entry.name);
    newest = Math.max(
      newest,
      entry.isDirectory() ? newestIn(path) : entry.name.endsWith(".test.ts") ? 0 : modified(path),
    );
  }
  return newest;
}

function run(title, command, args) {
  const started = performance.now();
  const tty = process.stdout.isTTY;
  process.stdout.write(tty ? `  … ${title}` : `  ${title} ...\n`);
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  const took = `${((performance.now() - started) / 1000).toFixed(1)} s`;
  const mark = status === 0 ? "✓" : "✗";
  process.stdout.write(`${tty ? "\r\u001b[K" : ""}  ${mark} ${title.padEnd(34)} ${took}\n`);
  if (status === 0) return;
  const output = `${stdout ?? ""}${stderr ?? ""}${error?.message ?? ""}`.trim().split("\n").slice(-15).join("\n");
  const offline = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|network/i.test(output);
  const full = /ENOSPC|no space left/i.test(output);
  const fix = full
    ? "the disk is full: free about 1 GB and run `npm start` again"
    : offline
      ? "npm packages are fetched from the npm registry: connect to the network (or set a mirror with `npm config set registry URL`) and run `npm start` again"
      : `run \`${[command, ...args].join(" ")}\` in ${root} to see more`;
  process.stderr.write(`error: could not ${title[0].toLowerCase()}${title.slice(1)}:\n${output}\n  fix: ${fix}\n`);
  process.exit(1);
}

const lockFile = modified("package-lock.json");
if (modified("node_modules/.package-lock.json") < lockFile) {
  run("Install npm packages", "npm", ["ci", "--no-audit", "--no-fund"]);
}
const sources = ["src", "migrations"].map(newestIn);
if (modified("dist/main.js") < Math.max(...sources, modified("build.mjs"), modified("package.json"))) {
  run("Build Leoflow", process.execPath, ["build.mjs"]);
}
process.argv.splice(1, process.argv.length, at("bin/leoflow"), "lite", ...process.argv.slice(2));
await import("../dist/main.js");
