import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { testPython } from "./python.ts";

/** A server of CPython builds on loopback: python-build-standalone's layout, made from this machine's own Python. */
export interface PythonMirror {
  /** The version that it has: "3.11.7". */
  version: string;
  /** For the product's environment. */
  env: Record<string, string>;
  /** How often the build itself was asked for. */
  downloads(): number;
  close(): Promise<void>;
}

/** Packs an interpreter with its standard library so that it runs from wherever it is unpacked. */
const PACK = `
import io, json, os, sys, sysconfig, tarfile
minor = "%d.%d" % sys.version_info[:2]
stdlib = sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix, "base": sys.base_prefix})
skipped = {"site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "__pycache__"}
def wanted(info):
    name = os.path.basename(info.name)
    return None if name in skipped or name.endswith(".a") or info.islnk() else info
with tarfile.open(sys.argv[1], "w:gz", compresslevel=1, dereference=True) as archive:
    archive.add(os.path.realpath(sys._base_executable), "python/bin/python" + minor)
    for name in ("python", "python3"):
        link = tarfile.TarInfo("python/bin/" + name)
        link.type, link.linkname = tarfile.SYMTYPE, "python" + minor
        archive.addfile(link)
    for entry in sorted(os.listdir(stdlib)):
        path = os.path.join(stdlib, entry)
        if entry not in skipped and os.path.exists(path):
            archive.add(path, f"python/lib/python{minor}/{entry}", filter=wanted)
print(json.dumps({"version": "%d.%d.%d" % sys.version_info[:3], "prerelease": "" if sys.version_info[3] == "final" else "x"}))
`;

/** `damage`: what it serves is not what its list says. `silent`: it begins to answer, and no more comes. */
export async function createPythonMirror(
  folder: string,
  { damage = false, silent = false } = {},
): Promise<PythonMirror> {
  mkdirSync(folder, { recursive: true });
  const archive = join(folder, "cpython.tar.gz");
  const { version } = JSON.parse(execFileSync(testPython(), ["-c", PACK, archive], { encoding: "utf8" })) as {
    version: string;
  };
  const contents = readFileSync(archive);
  let asked = 0;
  const server: Server = createServer((_request, response) => {
    asked++;
    if (silent) response.write(contents.subarray(0, 1000));
    else response.end(damage ? contents.subarray(0, contents.length / 2) : contents);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  const [major, minor, patch] = version.split(".").map(Number);
  const arch = process.arch === "arm64" ? "aarch64" : "x86_64";
  const os = process.platform === "darwin" ? "darwin" : "linux";
  const libc = os === "linux" ? "gnu" : "none";
  const build = {
    ...{
      name: "cpython",
      arch: { family: arch, variant: null },
      os,
      libc,
      major,
      minor,
      patch,
      prerelease: "",
      variant: null,
    },
    url: `http://127.0.0.1:${port}/cpython-${version}.tar.gz`,
    sha256: createHash("sha256").update(contents).digest("hex"),
    build: "20260101",
  };
  const list = join(folder, "downloads.json");
  writeFileSync(list, JSON.stringify({ [`cpython-${version}-${os}-${arch}-${libc}`]: build }));
  return {
    version,
    env: { UV_PYTHON_DOWNLOADS_JSON_URL: list, NO_PROXY: "127.0.0.1", no_proxy: "127.0.0.1" },
    downloads: () => asked,
    close: () =>
      new Promise((closed) => {
        server.closeAllConnections();
        server.close(() => closed());
      }),
  };
}
