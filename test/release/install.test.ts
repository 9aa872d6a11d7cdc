import { execFileSync } from "node:child_process";
import { appendFileSync, chmodSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runCommand } from "../../src/lite/command.ts";
import { contentsOf } from "../support/machine.ts";
import { makeFakeRelease } from "./fake-release.ts";
import { createUser, SCRIPT, serveReleases, type User } from "./installer.ts";
import { busybox, busyboxTools, namesIn, putProgram, shellcheck, systemTool } from "./tools.ts";

// The script's own mechanics, with archives that are quick to install. Real releases: install-real.test.ts.

let user: User;
beforeEach(() => {
  user = createUser();
});
afterEach(() => user.remove());

const folderOf = ({ version, sha256 }: { version: string; sha256: string }) => `${version}-${sha256.slice(0, 12)}`;
const ALL = (version: string) => [version, version, version];

it("is clean to shellcheck", async () => {
  const { code, output } = await runCommand([await shellcheck(), "--shell=sh", SCRIPT]);
  expect(output).toBe("");
  expect(code).toBe(0);
});

it("prints its settings for --help and refuses what it does not know", async () => {
  const help = await user.install({}, ["sh"], ["--help"]);
  expect(help.code).toBe(0);
  for (const name of [
    "VERSION",
    "INSTALL_DIR",
    "NO_SETUP",
    "NO_PATH",
    "NONINTERACTIVE",
    "OFFLINE",
    "ARCHIVE",
    "BASE_URL",
  ]) {
    expect(help.stdout).toContain(`LEOFLOW_${name}`);
  }
  const wrong = await user.install({}, ["sh"], ["--hlep"]);
  expect(wrong).toMatchObject({ code: 2, output: expect.stringContaining("error: unknown option '--hlep'") as string });
  expect(existsSync(user.bin)).toBe(false);
});

describe.each(["sh", "dash", "bash", "busybox"])("with %s", (shell) => {
  let command: string[];
  let path: string;
  beforeEach(async () => {
    for (const name of shell === "busybox" ? [] : [shell, "curl"]) await systemTool(name);
    command = { sh: ["sh"], dash: ["dash"], bash: ["bash", "--posix"], busybox: [await busybox(), "sh"] }[
      shell
    ] as string[];
    // With busybox's shell also every other program is busybox's, wget among them.
    path = shell === "busybox" ? await busyboxTools(join(dirname(user.home), "tools")) : (process.env["PATH"] ?? "");
  });

  it("installs, upgrades, goes back, and keeps the previous version only", async () => {
    const server = await serveReleases(user.releases);
    const [one, two, three] = ["0.1.0", "0.2.0", "0.3.0-rc.1"].map((version) =>
      makeFakeRelease(user.releases, version),
    );
    const env = { PATH: `${user.bin}:${path}`, LEOFLOW_BASE_URL: server.url };
    const install = async (version?: string) => {
      const result = await user.install({ ...env, LEOFLOW_VERSION: version }, command);
      expect(result.code, result.output).toBe(0);
      return result.stdout;
    };
    expect(await install("v0.1.0")).toContain("✓ Leoflow 0.1.0 is installed\n");
    expect(await user.versions()).toEqual(ALL("0.1.0"));
    expect(execFileSync("readlink", [join(user.bin, "leoflow")], { encoding: "utf8" })).toBe(
      "../lib/leoflow/current/bin/leoflow\n",
    );
    expect(user.libNames()).toEqual([folderOf(one!), `current -> ${folderOf(one!)}`]);

    expect(await install("0.2.0")).toContain("✓ Leoflow 0.2.0 is installed (was 0.1.0)\n");
    expect(await user.versions()).toEqual(ALL("0.2.0"));

    expect(await install()).toContain("✓ Leoflow 0.3.0-rc.1 is installed (was 0.2.0)\n");
    const after = [folderOf(two!), folderOf(three!), `current -> ${folderOf(three!)}`, `previous -> ${folderOf(two!)}`];
    expect(user.libNames()).toEqual(after);

    // Once more the same: nothing changes, and the way back stays.
    await install();
    expect(user.libNames()).toEqual(after);

    expect(await install("0.2.0")).toContain("is installed (was 0.3.0-rc.1)\n");
    expect(await user.versions()).toEqual(ALL("0.2.0"));
    expect(user.libNames()).toEqual([
      ...[folderOf(two!), folderOf(three!)],
      ...[`current -> ${folderOf(two!)}`, `previous -> ${folderOf(three!)}`],
    ]);
    expect(namesIn(user.bin)).toEqual(["leoflow", "leoflow-agent", "leoflow-server"]);
    expect(user.setupCalls()).toEqual(Array(5).fill("setup --yes input=none"));
    await server.stop();
  });

  it("touches nothing that is the user's, asks nothing, and knows nothing of Docker (P1, P4, P10)", async () => {
    makeFakeRelease(user.releases, "0.1.0");
    const docker = join(dirname(user.home), "docker");
    putProgram(docker, "docker", `echo "$*" >>'${docker}/calls'`);
    const env = { PATH: `${docker}:${path}` };
    expect((await user.install(env, command)).code).toBe(0);
    // The default workspace, and a home as the first start leaves it.
    const files = {
      "leoflow/dag.py": "# a DAG\n",
      "leoflow/leoflow.yaml": "name: mine\n",
      "leoflow/data/numbers.csv": "1,2\n",
      ".leoflow/config.yaml": "jwt_secret: abc\nadmin_password_hash: def\n",
      ".leoflow/managed-postgres/data/PG_VERSION": "18\n",
      ".leoflow/managed-postgres/docker-volume.json": "{}\n",
      ".leoflow/venv/.leoflow-deps": "{}\n",
      ".leoflow/python/cpython-3.12.16/bin/python3": "",
    };
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(user.home, name)), { recursive: true });
      writeFileSync(join(user.home, name), content);
    }
    chmodSync(join(user.home, "leoflow/dag.py"), 0o640);
    symlinkSync("dag.py", join(user.home, "leoflow/link.py"));
    const users = () => ["leoflow", ".leoflow"].map((name) => contentsOf(join(user.home, name)));
    const before = users();
    makeFakeRelease(user.releases, "0.2.0");
    const { code, output } = await user.install(env, command);
    expect(code, output).toBe(0);
    expect(await user.versions()).toEqual(ALL("0.2.0"));
    expect(users()).toEqual(before);
    expect(existsSync(join(docker, "calls"))).toBe(false);
  });

  it("refuses a wrong checksum and leaves the old version as it was", async () => {
    makeFakeRelease(user.releases, "0.1.0");
    await user.install({ PATH: path }, command);
    const before = contentsOf(user.home);
    appendFileSync(makeFakeRelease(user.releases, "0.2.0").archive, "more");
    const { code, output } = await user.install({ PATH: path }, command);
    expect(code).toBe(1);
    expect(output).toMatch(
      /error: leoflow_0\.2\.0_\w+\.tar\.gz is damaged: its SHA-256 is [0-9a-f]{64}, and checksums\.txt says/,
    );
    expect(contentsOf(user.home)).toEqual(before);
    expect(await user.versions()).toEqual(ALL("0.1.0"));
  });

  it("runs nothing of a script that was cut short", async () => {
    makeFakeRelease(user.releases, "0.1.0");
    const text = readFileSync(SCRIPT, "utf8");
    const cut = join(dirname(user.home), "cut.sh");
    // Ends of lines, where a cut makes no error of its own, and places within them.
    const ends = [...text.matchAll(/\n/g)].map(({ index }) => index + 1).filter((end) => end < text.length - 10);
    const places = [...ends.filter((_, n) => n % 40 === 0), ends.at(-1) as number, text.length - 4, text.length - 9];
    for (const place of places) {
      writeFileSync(cut, text.slice(0, place));
      await runCommand([...command, cut], { env: user.env({ PATH: path }) });
      expect(existsSync(user.bin), text.slice(place - 30, place)).toBe(false);
    }
  });
});

describe("the machine", () => {
  /** A machine of another kind: programs of the system that say so. */
  async function refusal(programs: Record<string, string>): Promise<string> {
    const tools = join(dirname(user.home), "fakes");
    for (const [name, script] of Object.entries(programs)) putProgram(tools, name, script);
    const { output } = await user.install({ PATH: `${tools}:${process.env["PATH"] ?? ""}` });
    return output;
  }
  const uname = (system: string, machine: string) => `case $1 in -s) echo ${system} ;; -m) echo ${machine} ;; esac`;
  const musl = "echo 'musl libc (x86_64)\nVersion 1.2.5' >&2; exit 1";

  it.each([
    [
      "Windows",
      { uname: uname("MINGW64_NT-10.0-22631", "x86_64") },
      "error: Leoflow does not run on Windows itself\n  fix: use it inside WSL 2",
    ],
    ["MSYS", { uname: uname("MSYS_NT-10.0", "x86_64") }, "error: Leoflow does not run on Windows itself"],
    [
      "FreeBSD",
      { uname: uname("FreeBSD", "amd64") },
      "error: Leoflow does not run on FreeBSD\n  fix: use Linux or macOS",
    ],
    [
      "a Raspberry Pi of 32 bits",
      { uname: uname("Linux", "armv7l") },
      "error: Leoflow does not run on armv7l processors",
    ],
    [
      "32-bit programs on a 64-bit kernel",
      { uname: uname("Linux", "x86_64"), getconf: "[ $1 != LONG_BIT ] || echo 32" },
      "error: this is a 32-bit system",
    ],
    [
      "musl",
      { uname: uname("Linux", "x86_64"), getconf: "exit 1", ldd: musl },
      "error: this system uses musl (Alpine?), and Leoflow needs glibc",
    ],
    [
      "an old glibc",
      { uname: uname("Linux", "x86_64"), getconf: "[ $1 = LONG_BIT ] && echo 64 || echo glibc 2.17" },
      "error: this system has glibc 2.17, and Leoflow needs 2.28 or newer",
    ],
    [
      "an old glibc that only ldd tells",
      { uname: uname("Linux", "x86_64"), getconf: "exit 1", ldd: "echo 'ldd (GNU libc) 2.27'" },
      "error: this system has glibc 2.27",
    ],
  ])("refuses %s", async (_name, programs, text) => {
    makeFakeRelease(user.releases, "0.1.0");
    expect(await refusal(programs)).toContain(text);
    expect(existsSync(user.bin)).toBe(false);
  });

  it.each([
    ["darwin_arm64", uname("Darwin", "arm64"), "exit 1"],
    ["darwin_arm64", uname("Darwin", "x86_64"), "[ \"$*\" = '-n hw.optional.arm64' ] && echo 1"],
    ["darwin_x64", uname("Darwin", "x86_64"), "exit 1"],
    ["linux_arm64", uname("Linux", "aarch64"), "exit 1"],
  ])("takes the archive %s", async (platform, script, sysctl) => {
    makeFakeRelease(user.releases, "0.1.0", { platform });
    expect(await refusal({ uname: script, sysctl, getconf: "echo glibc 2.41" })).toContain(
      "✓ Leoflow 0.1.0 is installed",
    );
  });

  it("does not switch to a version that does not run here", async () => {
    makeFakeRelease(user.releases, "0.1.0");
    await user.install();
    const before = contentsOf(user.home);
    makeFakeRelease(user.releases, "0.2.0", { says: "error while loading shared libraries: libatomic.so.1" });
    const { code, output } = await user.install();
    expect(code).toBe(1);
    expect(output).toContain(
      "error: Leoflow 0.2.0 does not run on this machine. `leoflow version` says: error while loading",
    );
    expect(output).toContain("fix: install the library that it names");
    expect(contentsOf(user.home)).toEqual(before);
  });
});
