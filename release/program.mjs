// What is in a release: the files below `leoflow-<version>/`, as a map of name to { contents, executable }.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { bundle, bundlePages, bundleTaskRunner, NATIVE_PACKAGE } from "../build.mjs";
import { npmPackage } from "./downloads.mjs";

const NODE = JSON.parse(readFileSync(new URL("node.lock.json", import.meta.url), "utf8"));

/** Each platform's name for its native packages; Linux means glibc, as the Node that is shipped does. */
export const PLATFORMS = {
  "linux-x64": "linux-x64-gnu",
  "linux-arm64": "linux-arm64-gnu",
  "darwin-x64": "darwin-x64",
  "darwin-arm64": "darwin-arm64",
};

const PROGRAMS = { leoflow: "main.js", "leoflow-server": "server-main.js", "leoflow-agent": "agent-main.js" };

/** Follows links to itself by hand: not every system has `readlink -f`. */
const launcher = (entry) => `#!/bin/sh
self=$0
while [ -h "$self" ]; do
  link=$(readlink "$self")
  case $link in
    /*) self=$link ;;
    *) self=$(dirname "$self")/$link ;;
  esac
done
root=$(CDPATH='' cd -P "$(dirname "$self")/.." && pwd -P) || exit 1
exec "$root/lib/node" "$root/dist/${entry}" "$@"
`;

/** What is the same on every platform. */
export async function programFiles(root) {
  const files = new Map();
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  for (const [name, entry] of Object.entries(PROGRAMS)) {
    files.set(`bin/${name}`, { contents: Buffer.from(launcher(entry)), executable: true });
  }
  const [program, pages, taskRunner] = await Promise.all([
    bundle(root, { withPackages: true }),
    bundlePages(root),
    bundleTaskRunner(root),
  ]);
  for (const [folder, { outputFiles }] of [
    ["dist", program],
    ["dist", taskRunner],
    ["dist/web", pages],
  ]) {
    for (const { path, contents } of outputFiles) {
      files.set(`${folder}/${basename(path)}`, { contents: Buffer.from(contents), executable: false });
    }
  }
  // dist/ is of modules wherever it is put.
  files.set("dist/package.json", { contents: Buffer.from('{ "type": "module" }\n'), executable: false });
  for (const folder of ["python", "examples/starter", "migrations", "sdk/typescript/src"])
    addFolder(files, root, folder);
  files.set("LICENSE", { contents: readFileSync(join(root, "LICENSE")), executable: false });
  files.set("VERSION", { contents: Buffer.from(`${version}\n`), executable: false });
  files.set("licenses/packages.txt", {
    contents: Buffer.from(licensesOf(root, [program.metafile, pages.metafile])),
    executable: false,
  });
  return { version, files };
}

/** What differs: Node itself, and the packages with native code. */
export async function platformFiles(root, cache, platform) {
  const files = new Map();
  const { name, integrity } = NODE.packages[platform];
  const node = await npmPackage(cache, name, NODE.version, integrity);
  files.set("lib/node", { contents: node.get("bin/node").contents, executable: true });
  files.set("licenses/node.txt", { contents: node.get("LICENSE").contents, executable: false });

  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  const natives = [NATIVE_PACKAGE, `${NATIVE_PACKAGE}-${PLATFORMS[platform]}`, "esbuild", `@esbuild/${platform}`];
  for (const native of natives) {
    const pinned = lock.packages[`node_modules/${native}`];
    for (const [file, entry] of await npmPackage(cache, native, pinned.version, pinned.integrity)) {
      if (!/\.d\.ts$|^README|^browser\.js$|^install\.js$/.test(file))
        files.set(`node_modules/${native}/${file}`, entry);
    }
  }
  return files;
}

function addFolder(files, root, folder) {
  for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    if (!entry.isFile() || /__pycache__|\.pyc$|\.in$|pyproject\.toml$|\.test\.ts$/.test(path)) continue;
    files.set(relative(root, path), { contents: readFileSync(path), executable: false });
  }
}

/** The licences of the packages whose code is in the bundle. */
function licensesOf(root, metafiles) {
  const packages = new Set();
  for (const input of metafiles.flatMap(({ inputs }) => Object.keys(inputs))) {
    const found = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
    if (found !== undefined) packages.add(found);
  }
  return [...packages]
    .sort()
    .map((folder) => {
      const { name, version, license } = JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8"));
      const file = readdirSync(join(root, folder)).find((each) => /^licen[cs]e/i.test(each));
      const text = file === undefined ? "" : `\n${readFileSync(join(root, folder, file), "utf8").trim()}\n`;
      return `${name} ${version}: ${license}\n${text}`;
    })
    .join(`\n${"-".repeat(80)}\n`);
}

export function installScript(root) {
  const file = join(root, "install.sh");
  return existsSync(file) ? readFileSync(file) : undefined;
}
