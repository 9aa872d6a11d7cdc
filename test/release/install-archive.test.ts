import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeFakeRelease } from "./fake-release.ts";
import { createUser, SCRIPT, serveReleases, type ReleaseServer, type User } from "./installer.ts";
import { BASE_TOOLS, busybox, namesIn, systemTool, toolbox } from "./tools.ts";

// How install.sh gets and checks an archive.

let user: User;
beforeEach(() => {
  user = createUser();
});
afterEach(() => user.remove());

const folderOf = ({ version, sha256 }: { version: string; sha256: string }) => `${version}-${sha256.slice(0, 12)}`;
const ALL = (version: string) => [version, version, version];

describe("getting the archive", () => {
  let server: ReleaseServer;
  let tools: string;
  beforeEach(async () => {
    server = await serveReleases(user.releases);
    tools = join(dirname(user.home), "tools");
    makeFakeRelease(user.releases, "0.1.0");
  });
  afterEach(() => server.stop());

  it.each([["curl"], ["wget"], ["busybox's wget"]])("has %s alone to download with", async (name) => {
    const fromBusybox = name.startsWith("busybox");
    if (!fromBusybox) await systemTool(name);
    toolbox(tools, [...BASE_TOOLS, "sha256sum", "shasum", ...(fromBusybox ? [] : [name])]);
    if (fromBusybox) symlinkSync(await busybox(), join(tools, "wget"));
    const { code, output } = await user.install({ PATH: tools, LEOFLOW_BASE_URL: server.url });
    expect(code, output).toBe(0);
    expect(await user.versions()).toEqual(ALL("0.1.0"));
    const none = await user.install({ PATH: tools, LEOFLOW_BASE_URL: server.url, LEOFLOW_VERSION: "9.9.9" });
    expect(none.code).toBe(1);
    expect(none.output).toContain(
      `error: ${server.url}/v9.9.9/checksums.txt does not exist\n  fix: there is no version 9.9.9 there; LEOFLOW_VERSION chooses`,
    );
  });

  it("says so where nothing can download, and needs neither for a folder or file://", async () => {
    toolbox(tools, [...BASE_TOOLS, "sha256sum", "shasum"]);
    const none = await user.install({ PATH: tools, LEOFLOW_BASE_URL: server.url });
    expect(none).toMatchObject({
      code: 1,
      output: expect.stringContaining("error: neither curl nor wget is there") as string,
    });
    for (const base of [
      user.releases,
      `${user.releases}//`,
      `file://${user.releases}`,
      `file://localhost${user.releases}/`,
    ]) {
      const { code, output } = await user.install({ PATH: tools, LEOFLOW_BASE_URL: base });
      expect(code, output).toBe(0);
    }
  });

  it.each([
    ["sha256sum", "coreutils"],
    ["shasum", "perl"],
    ["openssl", "openssl"],
  ])("checks SHA-256 with %s", async (program, itsPackage) => {
    await systemTool(program, itsPackage);
    toolbox(tools, [...BASE_TOOLS, program]);
    const { code, output } = await user.install({ PATH: tools });
    expect(code, output).toBe(0);
    appendFileSync(makeFakeRelease(user.releases, "0.2.0").archive, "more");
    expect((await user.install({ PATH: tools })).output).toContain("is damaged: its SHA-256 is");
  });

  it("refuses where nothing can check", async () => {
    toolbox(tools, BASE_TOOLS);
    const { code, output } = await user.install({ PATH: tools });
    expect(code).toBe(1);
    expect(output).toContain("error: there is no program to check SHA-256 with\n  fix: install coreutils (sha256sum)");
    expect(namesIn(user.bin)).toEqual([]);
  });

  it("knows GitHub's order of files, and its redirects", async () => {
    await systemTool("curl");
    const env = { LEOFLOW_BASE_URL: "http://github.com/leoflow/leoflow/releases", http_proxy: server.url };
    const { code, output } = await user.install(env);
    expect(code, output).toBe(0);
    const asked = server.requests.filter((url) => url.includes("github.com")).map((url) => url.split("/releases/")[1]);
    expect(asked).toEqual([
      "latest/download/latest",
      "download/v0.1.0/checksums.txt",
      expect.stringMatching(/^download\/v0\.1\.0\/leoflow_0\.1\.0_\w+\.tar\.gz$/) as string,
    ]);
  });

  it("downloads from https by default, and from nothing else once it is https", () => {
    const script = readFileSync(SCRIPT, "utf8");
    expect(script).toContain("RELEASES=https://github.com/leoflow/leoflow/releases\n");
    expect(script).toContain("allowed='=https'");
  });

  it("says what is wrong with an answer that is no version, or with no server", async () => {
    writeFileSync(join(user.releases, "latest"), "<!DOCTYPE html>\n");
    expect((await user.install({ LEOFLOW_BASE_URL: server.url })).output).toContain(
      `error: what ${server.url}/latest says is not a version: '<!DOCTYPEhtml>'`,
    );
    expect((await user.install({ LEOFLOW_VERSION: "../../etc" })).output).toContain(
      "error: LEOFLOW_VERSION is not a version",
    );
    rmSync(join(user.releases, "latest"));
    expect((await user.install({ LEOFLOW_BASE_URL: server.url })).output).toContain("there is no release yet");
    await server.stop();
    const { code, output } = await user.install({ LEOFLOW_BASE_URL: server.url });
    expect(code).toBe(1);
    expect(output).toMatch(/error: could not get http:.*\n {2}fix: check the network/);
  });

  it("says so where the release has no archive for this machine", async () => {
    makeFakeRelease(user.releases, "0.5.0", { platform: "plan9_mips" });
    const { code, output } = await user.install();
    expect(code).toBe(1);
    expect(output).toMatch(/error: Leoflow 0\.5\.0 has no leoflow_0\.5\.0_\w+\.tar\.gz\n/);
  });

  it("refuses an archive that is cut short, also where checksums.txt agrees", async () => {
    const { archive } = makeFakeRelease(user.releases, "0.2.0");
    truncateSync(archive, 300);
    expect((await user.install()).output).toContain("is damaged");
    const sum = execFileSync("sha256sum", { input: readFileSync(archive), encoding: "utf8" }).split(" ")[0];
    writeFileSync(join(dirname(archive), "checksums.txt"), `${sum}  ${basename(archive)}\n`);
    const { code, output } = await user.install();
    expect(code).toBe(1);
    expect(output).toContain(`error: could not unpack ${basename(archive)}: `);
    expect(namesIn(user.lib)).toEqual([]);
    expect(namesIn(user.bin)).toEqual([]);
  });

  it("takes the offline archive, or one that was carried here", async () => {
    const offline = makeFakeRelease(user.releases, "0.2.0", { offline: true });
    expect((await user.install()).output).toMatch(/error: Leoflow 0\.2\.0 has no /);
    expect((await user.install({ LEOFLOW_OFFLINE: "1" })).code).toBe(0);
    expect(user.libNames()[0]).toBe(folderOf(offline));

    const stick = join(dirname(user.home), "usb stick");
    mkdirSync(stick);
    const carried = join(stick, basename(offline.archive));
    copyFileSync(offline.archive, carried);
    const env = { LEOFLOW_ARCHIVE: carried, LEOFLOW_BASE_URL: "/nowhere" };
    expect((await user.install(env)).output).toContain(`error: ${stick}/checksums.txt does not exist`);
    copyFileSync(join(dirname(offline.archive), "checksums.txt"), join(stick, "checksums.txt"));
    const { code, output } = await user.install(env);
    expect(code, output).toBe(0);
    expect((await user.install({ LEOFLOW_ARCHIVE: join(stick, "checksums.txt") })).output).toContain(
      "error: checksums.txt is not an archive for this machine",
    );
    expect((await user.install({ LEOFLOW_ARCHIVE: join(stick, "none.tar.gz") })).output).toContain(
      "error: there is no file",
    );
  });
});
