// What an offline bundle has beyond a release: uv, the wheels of the lock files and, where it can be had, CPython.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const WHEELS_PY = new URL("wheels.py", import.meta.url).pathname;
const LOCKS = ["requirements.lock", "postgres.lock", "uv.lock"];
const BIG = { maxBuffer: 1 << 28, encoding: "buffer" };

/** The Pythons that Airflow runs on: the machine's own serves where the pinned CPython is not in the bundle. */
const PYTHONS = ["3.10", "3.11", "3.12", "3.13"];
/** Not every pinned package has a wheel for Intel Macs with 3.13 (python/pyproject.toml). */
const pythonsOf = (platform, pythons) =>
  platform === "darwin-x64" ? pythons.filter((python) => python !== "3.13") : pythons;

/** Name to { contents, executable } below `vendor/`. `note` is told what could not be had. */
export async function vendorFiles(root, cache, platform, pythons, note) {
  const files = new Map();
  const folder = await wheelsFolder(root, cache, platform, pythonsOf(platform, pythons), LOCKS);
  for (const name of readdirSync(folder)) {
    if (name.startsWith("uv-")) {
      files.set("vendor/uv", { contents: await uvFrom(join(folder, name)), executable: true });
    } else {
      files.set(`vendor/wheels/${name}`, { contents: readFileSync(join(folder, name)), executable: false });
    }
  }
  const cpython = await cpythonBuild(root, cache, platform, note);
  if (cpython) files.set(`vendor/python/${cpython.name}`, { contents: cpython.contents, executable: false });
  return files;
}

/** A folder with the wheels of these locks for a platform, each compared with the locks' hashes. */
async function wheelsFolder(root, cache, platform, pythons, locks) {
  const paths = locks.map((lock) => join(root, "python", lock));
  const texts = paths.map((path) => readFileSync(path, "utf8"));
  const key = createHash("sha256").update([platform, ...pythons, ...texts, readFileSync(WHEELS_PY)].join("\0"));
  const folder = join(cache, `wheels-${platform}-${key.digest("hex").slice(0, 12)}`);
  if (!existsSync(folder)) {
    const fresh = `${folder}.${process.pid}`;
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh, { recursive: true });
    try {
      for (const [index, path] of paths.entries()) {
        // Only the packages of Airflow differ between Pythons.
        const versions = locks[index] === "requirements.lock" ? pythons : pythons.slice(-1);
        await python([WHEELS_PY, platform, versions.join(","), path, fresh]);
      }
      if (!existsSync(folder)) renameSync(fresh, folder);
    } finally {
      rmSync(fresh, { recursive: true, force: true });
    }
  }
  for (const name of readdirSync(folder)) {
    const found = createHash("sha256")
      .update(readFileSync(join(folder, name)))
      .digest("hex");
    if (texts.some((text) => text.includes(`sha256:${found}`))) continue;
    rmSync(folder, { recursive: true });
    throw new Error(`${name} in ${folder} is not what the lock files pin; it was removed, run this again`);
  }
  return folder;
}

const UV_FROM_WHEEL = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    name = next(name for name in wheel.namelist() if name.endswith(".data/scripts/uv"))
    sys.stdout.buffer.write(wheel.read(name))
`;

function uvFrom(wheel) {
  return python(["-c", UV_FROM_WHEEL, wheel]);
}

async function python(args) {
  try {
    return (await run("python3", args, BIG)).stdout;
  } catch (error) {
    const output = error.stderr ? error.stderr.toString().trim().split("\n").slice(-3).join("\n") : error.message;
    const fix = /ENOENT|No module named/.test(output) ? " (python3 with pip is needed to make an offline bundle)" : "";
    throw new Error(`no Python packages: ${output}${fix}`, { cause: error });
  }
}

/**
 * The CPython that the release pins, as uv wants it below a mirror: `<date>/<file>`. The pinned uv knows where it is, and
 * compares it with its own hash when it installs it.
 */
async function cpythonBuild(root, cache, platform, note) {
  const [system, machine] = platform.split("-");
  const pinned = /PINNED_PYTHON = "([^"]+)"/.exec(readFileSync(join(root, "src/lite/python/toolchain.ts"), "utf8"))[1];
  const wanted = { os: system === "darwin" ? "macos" : system, arch: machine === "x64" ? "x86_64" : "aarch64" };
  const builds = await uvPythonList(root, cache, pinned);
  const build = builds.find(
    ({ os, arch, libc, variant }) =>
      os === wanted.os && arch === wanted.arch && libc !== "musl" && variant === "default",
  );
  if (build === undefined) return void note(`CPython ${pinned}: uv knows no build for ${platform}`);
  const url = mirrored(build.url);
  const name = decodeURIComponent(url.split("/").slice(-2).join("/"));
  try {
    return { name, contents: await verifiedDownload(join(cache, "python"), url) };
  } catch (error) {
    const reason = error.cause?.message ?? error.message;
    note(`CPython ${pinned} could not be downloaded (${url}: ${reason}); the bundle uses the machine's Python`);
    return undefined;
  }
}

/** A file that SHA256SUMS beside it names, as python-build-standalone publishes them. Both are kept. */
async function verifiedDownload(cache, url) {
  const folder = join(cache, createHash("sha256").update(url).digest("hex").slice(0, 12));
  const name = decodeURIComponent(basename(url));
  const contents = await kept(join(folder, name), url);
  const sums = await kept(join(folder, "SHA256SUMS"), new URL("SHA256SUMS", url));
  const found = createHash("sha256").update(contents).digest("hex");
  if (sums.toString().split("\n").includes(`${found}  ${name}`)) return contents;
  rmSync(folder, { recursive: true });
  throw new Error(`its SHA-256 ${found} is not in SHA256SUMS beside it`);
}

async function kept(file, url) {
  if (!existsSync(file)) {
    const response = await fetch(url, { signal: AbortSignal.timeout(300_000) });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(`${file}.${process.pid}`, Buffer.from(await response.arrayBuffer()));
    renameSync(`${file}.${process.pid}`, file);
  }
  return readFileSync(file);
}

async function uvPythonList(root, cache, version) {
  const host = `${process.platform}-${process.arch}`;
  const folder = await wheelsFolder(root, cache, host, PYTHONS.slice(-1), ["uv.lock"]);
  const uv = join(folder, "..", `${basename(folder)}-uv`);
  if (!existsSync(uv)) {
    writeFileSync(`${uv}.${process.pid}`, await uvFrom(join(folder, readdirSync(folder)[0])), { mode: 0o755 });
    renameSync(`${uv}.${process.pid}`, uv);
  }
  const list = [
    "python",
    "list",
    "--all-platforms",
    "--all-arches",
    "--only-downloads",
    "--output-format",
    "json",
    version,
  ];
  return JSON.parse((await run(uv, list, BIG)).stdout.toString());
}

/** uv's own setting for a mirror, `<mirror>/<date>/<file>`. */
function mirrored(url) {
  const mirror = process.env.UV_PYTHON_INSTALL_MIRROR;
  return mirror ? `${mirror.replace(/\/$/, "")}/${url.split("/").slice(-2).join("/")}` : url;
}
