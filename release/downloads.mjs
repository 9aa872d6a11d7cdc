// npm packages that a release is made of, through npm itself: it knows the user's registry, proxy and cache. What comes is
// compared with a committed hash, from the cache too.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { extract } from "tar-stream";

/** The regular files of `name@version` below `package/`: path to { contents, executable }. */
export async function npmPackage(cache, name, version, integrity) {
  const file = join(cache, `${name.replace("/", "-").replace("@", "")}-${version}.tgz`);
  if (!existsSync(file) || integrityOf(file, integrity) !== integrity) {
    await download(cache, `${name}@${version}`, file);
    const found = integrityOf(file, integrity);
    if (found !== integrity) {
      rmSync(file);
      throw new Error(`${name}@${version} from the registry has ${found}, pinned is ${integrity}`);
    }
  }
  return untar(await promisify(gunzip)(readFileSync(file)));
}

async function download(cache, what, file) {
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, "download-"));
  try {
    const options = ["--silent", "--ignore-scripts", "--pack-destination", folder];
    await promisify(execFile)("npm", ["pack", what, ...options], { cwd: cache, maxBuffer: 1 << 26 });
    renameSync(join(folder, readdirSync(folder)[0]), file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function integrityOf(file, like) {
  const algorithm = like.slice(0, like.indexOf("-"));
  return `${algorithm}-${createHash(algorithm).update(readFileSync(file)).digest("base64")}`;
}

async function untar(bytes) {
  const files = new Map();
  const reader = extract();
  reader.end(bytes);
  for await (const entry of reader) {
    const chunks = [];
    for await (const chunk of entry) chunks.push(chunk);
    if (entry.header.type !== "file") continue;
    files.set(entry.header.name.replace(/^[^/]+\//, ""), {
      contents: Buffer.concat(chunks),
      executable: (entry.header.mode & 0o100) !== 0,
    });
  }
  return files;
}
