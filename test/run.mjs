// `npm test`, on a fresh clone too: sets up what is missing, then runs every check there is. The last line counts them.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { installPackages } from "../bin/set-up.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const cache = join(root, ".cache");
const bin = (name) => join(root, "node_modules/.bin", name);

mkdirSync(cache, { recursive: true });
installPackages();
await prepare();

// The static checks share the two cores; the tests have them for themselves, as they measure times.
const checks = await Promise.all([
  check("format", bin("prettier"), ["--check", "--log-level", "warn", "."]),
  check("lint", bin("eslint"), [".", "--max-warnings", "0"]),
  check("types", bin("tsc"), ["--noEmit"]),
  check("types of pages", bin("tsc"), ["--noEmit", "-p", "web"]),
  check("build", process.execPath, ["build.mjs"]),
]);
const tests = await unitTests(process.argv.slice(2));

const passed = checks.filter(Boolean).length + tests.passed;
const failed = checks.filter((ok) => !ok).length + tests.failed;
if (tests.skipped > 0) console.log(`${tests.skipped} skipped: this machine lacks what they need`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

/** esbuild is there only once the packages are. */
async function prepare() {
  const { runScript } = await import("./bundle-script.mjs");
  await runScript(join(root, "test/prepare.ts"));
}

function run(command, args, output) {
  const stdio = output ? ["ignore", "pipe", "pipe"] : ["ignore", "inherit", "inherit"];
  const child = spawn(command, args, { cwd: root, stdio });
  if (output) for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => output.push(data));
  return new Promise((done) => {
    child.once("error", () => done(1));
    child.once("close", (code) => done(code ?? 1));
  });
}

async function check(name, command, args) {
  const output = [];
  const started = performance.now();
  const ok = (await run(command, args, output)) === 0;
  console.log(`  ${ok ? "✓" : "✗"} ${name.padEnd(34)} ${((performance.now() - started) / 1000).toFixed(1)} s`);
  if (!ok) process.stdout.write(Buffer.concat(output));
  return ok;
}

async function unitTests(args) {
  const report = join(cache, "test-results.json");
  rmSync(report, { force: true });
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const code = await run(bin("vitest"), ["run", ...reporters, ...args]);
  if (!existsSync(report)) return { passed: 0, failed: 1, skipped: 0 };
  const results = JSON.parse(readFileSync(report, "utf8"));
  // A file that does not load has no failed test of its own; neither has an error outside of any test.
  const broken = results.testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"),
  ).length;
  const failed = results.numFailedTests + broken;
  return {
    passed: results.numPassedTests,
    failed: failed === 0 && code !== 0 ? 1 : failed,
    skipped: results.numPendingTests + results.numTodoTests,
  };
}
