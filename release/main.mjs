// `npm run release`: archives of this tree that run on machines without Node.
import { existsSync, mkdirSync, rmSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { installPackages } from "../bin/set-up.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const ALL = ["linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64"];
const HELP = `Build the archives that install.sh and Homebrew install.

Usage: npm run release -- [options]

  --platform LIST   of ${ALL.join(", ")} (default: all four)
  --out DIR         where to (default: release-out/)
  --offline         also archives with all Python and PostgreSQL packages, for machines without a network
  --only-offline    those alone
  --python LIST     for which Pythons an offline archive has packages (default: 3.10,3.11,3.12,3.13)
  --cache DIR       where downloads are kept (default: .cache/release/)
  -h, --help        print this help

Examples:
  npm run release
  npm run release -- --platform linux-x64 --out /tmp/leoflow
  npm run release -- --platform linux-arm64 --only-offline --python 3.12
  LEOFLOW_BASE_URL=/tmp/leoflow sh /tmp/leoflow/install.sh
`;

try {
  await release(optionsFrom(process.argv.slice(2)));
} catch (error) {
  const { message, fix } = error;
  process.stderr.write(`error: ${message}\n${fix ? `  fix: ${fix}\n` : ""}`);
  process.exit(fix ? 2 : 1);
}

function optionsFrom(args) {
  const text = { type: "string" };
  const wrongUse = (message) =>
    Object.assign(new Error(message), { fix: "`npm run release -- --help` lists what there is" });
  let values;
  try {
    ({ values } = parseArgs({
      args,
      options: {
        platform: text,
        out: { ...text, default: join(root, "release-out") },
        cache: { ...text, default: join(root, ".cache/release") },
        offline: { type: "boolean" },
        "only-offline": { type: "boolean" },
        python: { ...text, default: "3.10,3.11,3.12,3.13" },
        help: { type: "boolean", short: "h" },
      },
    }));
  } catch (error) {
    throw wrongUse(error.message);
  }
  if (values.help) {
    process.stdout.write(HELP);
    process.exit(0);
  }
  const platforms = values.platform?.split(",").filter(Boolean) ?? ALL;
  const unknown = platforms.find((platform) => !ALL.includes(platform));
  if (unknown !== undefined) throw wrongUse(`there is no platform ${unknown}`);
  const pythons = values.python.split(",").filter(Boolean);
  const odd = pythons.find((python) => !/^3\.1[0-3]$/.test(python));
  if (odd !== undefined) throw wrongUse(`Airflow does not run on Python ${odd}`);
  const offline = Boolean(values.offline || values["only-offline"]);
  const kinds = [...(values["only-offline"] ? [] : [""]), ...(offline ? ["_offline"] : [])];
  return { platforms, kinds, pythons, out: resolve(values.out), cache: resolve(values.cache) };
}

async function release({ platforms, kinds, pythons, out, cache }) {
  // In a copy of a tree node_modules may be a link to another's.
  if (!existsSync(join(root, "node_modules"))) installPackages();
  const { writeArchive } = await import("./archive.mjs");
  const { formula } = await import("./formula.mjs");
  const { installScript, platformFiles, programFiles } = await import("./program.mjs");
  const { vendorFiles } = await import("./vendor.mjs");
  const began = performance.now();
  const { version, files } = await programFiles(root);
  report("bundle", sizeOf(files), began);

  // Whole or not at all: what was there of this version stays until all of it can be replaced.
  const folder = join(out, `v${version}`);
  const fresh = `${folder}.part`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  const archives = [];
  for (const platform of platforms) {
    let started = performance.now();
    const all = new Map([...files, ...(await platformFiles(root, cache, platform))]);
    for (const kind of kinds) {
      const name = `leoflow_${version}_${platform.replace("-", "_")}${kind}.tar.gz`;
      const more = kind ? await vendorFiles(root, cache, platform, pythons, note) : [];
      const { bytes, sha256 } = await writeArchive(join(fresh, name), `leoflow-${version}`, new Map([...all, ...more]));
      archives.push({ platform, kind, name, sha256 });
      report(name, bytes, started);
      started = performance.now();
    }
  }
  writeFileSync(join(fresh, "checksums.txt"), archives.map(({ name, sha256 }) => `${sha256}  ${name}\n`).join(""));
  rmSync(folder, { recursive: true, force: true });
  renameSync(fresh, folder);
  const script = installScript(root);
  if (script !== undefined) writeFileSync(join(out, "install.sh"), script, { mode: 0o755 });
  const ofBrew = archives.filter(({ kind }) => kind === "");
  if (ofBrew.length > 0) writeFileSync(join(out, "leoflow.rb"), formula(version, ofBrew));
  writeFileSync(join(out, "latest"), `${version}\n`);
  process.stdout.write(`  Leoflow ${version} is in ${out} (${seconds(began)})\n`);
}

function note(text) {
  process.stdout.write(`  ! ${text}\n`);
}

function sizeOf(files) {
  return [...files.values()].reduce((sum, { contents }) => sum + contents.length, 0);
}

function report(what, bytes, since) {
  process.stdout.write(`  ✓ ${what.padEnd(44)} ${(bytes / 1e6).toFixed(1).padStart(6)} MB  ${seconds(since)}\n`);
}

function seconds(since) {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}
