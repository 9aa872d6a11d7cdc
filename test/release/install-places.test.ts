import { execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runCommand } from "../../src/lite/command.ts";
import { contentsOf } from "../support/machine.ts";
import { makeFakeRelease } from "./fake-release.ts";
import { createUser, type User } from "./installer.ts";
import { namesIn, putProgram } from "./tools.ts";

// Where install.sh puts things, and what it does with PATH.

let user: User;
beforeEach(() => {
  user = createUser();
});
afterEach(() => user.remove());

const folderOf = ({ version, sha256 }: { version: string; sha256: string }) => `${version}-${sha256.slice(0, 12)}`;
const ALL = (version: string) => [version, version, version];

describe("folders", () => {
  /** As someone who is not root; what there is belongs to them. */
  const NOBODY = 65534;
  const asNobody =
    process.getuid?.() === 0 ? ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"] : [];
  function giveAll(): void {
    if (asNobody.length > 0) execFileSync("chown", ["-R", `${NOBODY}:${NOBODY}`, dirname(user.home)]);
  }
  const install = (env: Record<string, string | undefined>) => user.install(env, [...asNobody, "sh"]);

  it("chooses ~/.local/bin where it is on PATH, and else ~/.leoflow/bin", async () => {
    makeFakeRelease(user.releases, "0.1.0");
    giveAll();
    const first = await install({ LEOFLOW_INSTALL_DIR: undefined });
    expect(first.output).toContain(`commands   ${user.home}/.local/bin/`);
    const system = process.env["PATH"];
    const second = await install({ LEOFLOW_INSTALL_DIR: undefined, PATH: system });
    expect(second.output).toContain(`commands   ${user.home}/.leoflow/bin/`);
    expect(existsSync(join(user.home, ".leoflow/lib/leoflow/current/bin/leoflow"))).toBe(true);
    expect(execFileSync("stat", ["-c", "%a", join(user.home, ".leoflow")], { encoding: "utf8" })).toBe("700\n");
    const third = await install({ LEOFLOW_INSTALL_DIR: undefined, PATH: system, LEOFLOW_HOME: "~/other" });
    expect(third.output).toContain(`commands   ${user.home}/other/bin/`);
  });

  it("goes on where Leoflow is already", async () => {
    makeFakeRelease(user.releases, "0.1.0");
    const place = join(user.home, "tools/bin");
    giveAll();
    await install({ LEOFLOW_INSTALL_DIR: place });
    const { output } = await install({ LEOFLOW_INSTALL_DIR: undefined, PATH: `${place}:${process.env["PATH"]}` });
    expect(output).toContain(`commands   ${place}/`);
  });

  it("takes a folder of any name, relative, with a tilde, or a link to one", async () => {
    makeFakeRelease(user.releases, "0.1.0");
    expect((await user.install({ LEOFLOW_INSTALL_DIR: "~/apps/" })).code).toBe(0);
    expect(namesIn(join(user.home, "apps"))).toEqual(["leoflow", "leoflow-agent", "leoflow-server", "lib"]);
    mkdirSync(join(user.home, "dotfiles/bin"), { recursive: true });
    symlinkSync("dotfiles/bin", join(user.home, "mybin"));
    expect((await user.install({ LEOFLOW_INSTALL_DIR: "mybin" })).code).toBe(0);
    expect(existsSync(join(user.home, "dotfiles/lib/leoflow/current"))).toBe(true);
    for (const place of ["apps", "mybin"]) {
      const said = await runCommand([join(user.home, place, "leoflow"), "version"], { env: user.env() });
      expect(said.output).toBe("leoflow 0.1.0 (a fake)\n");
    }
  });

  it("says so where it may not write", async () => {
    makeFakeRelease(user.releases, "0.1.0");
    giveAll();
    mkdirSync(user.bin, { recursive: true });
    chmodSync(user.bin, 0o755);
    chmodSync(dirname(user.bin), 0o555);
    if (asNobody.length > 0) chownSync(user.bin, 0, 0);
    else chmodSync(user.bin, 0o555);
    const { code, output } = await install({});
    chmodSync(dirname(user.bin), 0o755);
    expect(code).toBe(1);
    expect(output).toMatch(/error: cannot write to .*\/\.local\/(bin|lib\/leoflow)\n {2}fix: choose a folder of yours/);
  });

  it("leaves a program of the same name alone", async () => {
    makeFakeRelease(user.releases, "0.1.0");
    mkdirSync(user.bin, { recursive: true });
    writeFileSync(join(user.bin, "leoflow-agent"), "#!/bin/sh\necho mine\n", { mode: 0o755 });
    const before = contentsOf(user.bin);
    const { code, output } = await user.install();
    expect(code).toBe(1);
    expect(output).toContain(
      `error: ${user.bin}/leoflow-agent is there already (a file) and does not come from this script`,
    );
    expect(contentsOf(user.bin)).toEqual(before);
    rmSync(join(user.bin, "leoflow-agent"));
    symlinkSync("../Cellar/leoflow/0.1.0/bin/leoflow", join(user.bin, "leoflow"));
    expect((await user.install()).output).toContain("(a link to ../Cellar/leoflow/0.1.0/bin/leoflow)");
  });

  it("keeps a version that something still runs on", async () => {
    const [one] = ["0.1.0", "0.2.0", "0.3.0"].map((version) => makeFakeRelease(user.releases, version));
    await user.install({ LEOFLOW_VERSION: "0.1.0" });
    const program = join(user.lib, folderOf(one!), "lib/still-running");
    copyFileSync("/bin/sleep", program);
    const running = spawn(program, ["60"]);
    await new Promise((started) => running.once("spawn", started));
    await user.install({ LEOFLOW_VERSION: "0.2.0" });
    await user.install({ LEOFLOW_VERSION: "0.3.0" });
    expect(namesIn(user.lib)).toContain(folderOf(one!));
    running.kill();
    await new Promise((ended) => running.once("close", ended));
    await user.install({ LEOFLOW_VERSION: "0.3.0" });
    expect(namesIn(user.lib)).not.toContain(folderOf(one!));
  });

  it("repairs an installation whose files were changed", async () => {
    const one = makeFakeRelease(user.releases, "0.1.0");
    await user.install();
    rmSync(join(user.lib, folderOf(one), "note"));
    await user.install();
    expect(user.libNames()).toContain(`current -> ${folderOf(one)}.2`);
    expect(existsSync(join(user.lib, "current/note"))).toBe(true);
    expect(await user.versions()).toEqual(ALL("0.1.0"));
  });

  it("lets one installation at a time in, and takes the lock of a killed one", async () => {
    makeFakeRelease(user.releases, "0.1.0");
    await user.install();
    symlinkSync(String(process.pid), join(user.lib, ".lock"));
    const { code, output } = await user.install();
    expect(code).toBe(1);
    expect(output).toContain(`error: another installation into ${user.lib} runs (process ${process.pid})`);
    rmSync(join(user.lib, ".lock"));
    const ended = spawn("true");
    await new Promise((closed) => ended.once("close", closed));
    symlinkSync(String(ended.pid), join(user.lib, ".lock"));
    expect((await user.install()).code).toBe(0);
    const two = makeFakeRelease(user.releases, "0.2.0");
    const results = await Promise.all([1, 2, 3, 4].map(() => user.install()));
    expect(results.some((result) => result.code === 0)).toBe(true);
    expect(await user.versions()).toEqual(ALL("0.2.0"));
    expect(namesIn(user.lib).filter((name) => name.startsWith("."))).toEqual([]);
    expect(user.libNames()).toContain(`current -> ${folderOf(two)}`);
  });
});

describe("PATH", () => {
  const path = () => ({ PATH: process.env["PATH"] });
  const read = (name: string) =>
    existsSync(join(user.home, name)) ? readFileSync(join(user.home, name), "utf8") : undefined;
  beforeEach(() => void makeFakeRelease(user.releases, "0.1.0"));

  it.each([
    ["/bin/zsh", {}, [".zshrc"]],
    ["/usr/bin/zsh", { ZDOTDIR: "zsh" }, ["zsh/.zshrc"]],
    ["/bin/bash", {}, [".bashrc", ".profile"]],
    ["/bin/dash", {}, [".profile"]],
    ["/usr/bin/fish", {}, [".config/fish/config.fish"]],
  ])("adds one line for %s, once", async (shell, env, files) => {
    const where = Object.fromEntries(Object.entries(env).map(([name, value]) => [name, join(user.home, value)]));
    for (const file of files) {
      mkdirSync(dirname(join(user.home, file)), { recursive: true });
      writeFileSync(join(user.home, file), "# mine, without an end of line");
    }
    for (let run = 0; run < 2; run++) {
      const { code, output } = await user.install({ ...path(), ...where, SHELL: shell });
      expect(code, output).toBe(0);
      expect(output).toContain(`export PATH="${user.bin}:$PATH"`);
    }
    for (const file of files) {
      expect(read(file)).toMatch(/^# mine, without an end of line\n.* # added by Leoflow's install\.sh\n$/);
    }
    expect(readFileSync(join(user.lib, "profiles"), "utf8").trim().split("\n")).toEqual(
      files.map((file) => join(user.home, file)),
    );
  });

  it("adds a line that works, and nothing where the folder is on PATH", async () => {
    await user.install({ ...path(), SHELL: "/bin/bash" });
    for (const shell of [
      ["bash", "-c"],
      ["dash", "-c"],
    ]) {
      const said = await runCommand([...shell, '. ~/.profile; . ~/.profile; echo "$PATH"; leoflow version'], {
        env: user.env(path()),
      });
      expect(said.output).toBe(`${user.bin}:${process.env["PATH"]}\nleoflow 0.1.0 (a fake)\n`);
    }
    const other = createUser();
    makeFakeRelease(other.releases, "0.1.0");
    await other.install({ SHELL: "/bin/bash" });
    expect(namesIn(other.home)).toEqual([".local", "setup-calls"]);
    other.remove();
  });

  it("touches no profile when told so, and says what to add where it cannot", async () => {
    const told = await user.install({ ...path(), LEOFLOW_NO_PATH: "1", SHELL: "/bin/bash" });
    expect(told.output).toContain(`! ${user.bin} is not on PATH`);
    expect(read(".bashrc")).toBeUndefined();
    mkdirSync(join(user.home, ".bashrc"));
    const { code, output } = await user.install({ ...path(), SHELL: "/bin/bash" });
    expect(code).toBe(0);
    expect(output).toContain(`! could not write to ${user.home}/.bashrc; to have \`leoflow\` on PATH add: case`);
  });

  it("tells of another leoflow that comes first", async () => {
    const tools = join(dirname(user.home), "other");
    putProgram(tools, "leoflow", "echo other");
    const { output } = await user.install({ PATH: `${tools}:${user.bin}:${process.env["PATH"]}` });
    expect(output).toContain(`! \`leoflow\` is ${tools}/leoflow, which comes before ${user.bin} on PATH`);
  });
});
