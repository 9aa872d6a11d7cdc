import { execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { filesIn, KEPT, KEPT_TOO, useInstalledHome } from "../../test/support/installed-home.ts";
import { bundleProgram, firstJson } from "../../test/support/run-typescript.ts";
import { until } from "../../test/support/until.ts";
import { contentsOf } from "../../test/support/machine.ts";
import { acquireHomeLock } from "./home-lock.ts";
import { resolvePaths } from "./paths.ts";
import { planUninstall, uninstall } from "./uninstall.ts";

const home = useInstalledHome();
const { workspace, options, plan, remove } = home;

describe("plain", () => {
  it("removes the program and what is made again, and keeps what is the user's byte for byte (U1)", async () => {
    const profile = join(home.user.home, ".profile");
    expect(readFileSync(profile, "utf8")).toContain(home.user.bin);
    writeFileSync(profile, `# before\n${readFileSync(profile, "utf8")}# after, without an end`);
    const [config, dags] = [readFileSync(home.paths.config, "utf8"), contentsOf(workspace())];
    const { goes, stays } = await plan();
    expect(goes.map(({ path }) => path)).toEqual([
      ...["leoflow", "leoflow-server", "leoflow-agent"].map((name) => join(home.user.bin, name)),
      home.user.lib,
      profile,
      ...["cache", "managed-postgres/postgres-18.6.3", "python", "venv", "venvs"].map((name) =>
        join(home.paths.home, name),
      ),
    ]);
    expect(goes.find(({ what }) => what === "Airflow's packages")?.bytes).toBe("venv/.leoflow-deps".length);
    expect(stays.map(({ path }) => path)).toEqual(expect.arrayContaining([home.paths.config, workspace()]));

    expect(await remove()).toEqual([]);
    expect(filesIn(home.paths.home)).toEqual([...KEPT, ...KEPT_TOO].sort());
    expect(readFileSync(home.paths.config, "utf8")).toBe(config);
    expect(contentsOf(workspace())).toEqual(dags);
    expect(existsSync(home.user.lib)).toBe(false);
    expect(contentsOf(home.user.bin)).toEqual({ "": "folder 755" });
    expect(readFileSync(profile, "utf8")).toBe("# before\n# after, without an end");
  });

  it("can be run again, and installed again", async () => {
    await remove();
    expect(await planUninstall({ ...options(false), paths: { ...home.paths, program: home.user.home } })).toMatchObject(
      {
        goes: [],
      },
    );
    expect((await home.user.install()).code).toBe(0);
    expect(await home.user.versions()).toEqual(["0.1.0", "0.1.0", "0.1.0"]);
    expect(filesIn(home.paths.home)).toEqual([...KEPT, ...KEPT_TOO].sort());
  });

  it("removes a program that is inside the home", async () => {
    const bin = join(home.paths.home, "bin");
    expect((await home.user.install({ LEOFLOW_INSTALL_DIR: bin })).code).toBe(0);
    home.paths = { ...home.paths, program: realpathSync(join(home.paths.home, "lib/leoflow/current")) };
    expect(await remove()).toEqual([]);
    expect(filesIn(home.paths.home)).toEqual([...KEPT, ...KEPT_TOO].sort());
    expect(existsSync(home.user.lib)).toBe(true);
    await home.user.install({ LEOFLOW_INSTALL_DIR: bin });
    expect(await remove(true)).toEqual([]);
    expect(existsSync(home.paths.home)).toBe(false);
  });

  it("leaves a checkout, Homebrew's files and another's PATH line alone", async () => {
    const checkout = resolvePaths(home.paths.home).program;
    const found = await planUninstall({ ...options(false), paths: { ...home.paths, program: checkout } });
    expect(found?.goes.every(({ path }) => path.startsWith(home.paths.home))).toBe(true);
    expect(found?.notes).toEqual([`Leoflow itself is in ${checkout}, a folder of yours; it is left alone`]);
    const cellar = join(home.user.home, "Cellar/leoflow/0.1.0/libexec");
    mkdirSync(cellar, { recursive: true });
    const brewed = await planUninstall({ ...options(false), paths: { ...home.paths, program: cellar } });
    expect(brewed?.notes).toEqual(["Leoflow itself came with Homebrew: `brew uninstall leoflow` removes it"]);

    const elsewhere = join(home.user.home, "elsewhere/bin");
    await home.user.install({ PATH: process.env["PATH"], SHELL: "/bin/dash", LEOFLOW_INSTALL_DIR: elsewhere });
    await remove();
    const profile = readFileSync(join(home.user.home, ".profile"), "utf8");
    expect(profile).toContain(elsewhere);
    expect(profile).not.toContain(`"${home.user.bin}:`);
  });

  it("knows nothing to remove where there is neither a home nor a program (U5)", async () => {
    const nowhere = { ...resolvePaths(join(home.user.home, "none")), program: home.user.home };
    expect(await planUninstall({ ...options(true), paths: nowhere })).toBeUndefined();
  });
});

it.runIf(process.getuid?.() === 0)("tells of a program that it may not remove, and removes the rest (U7)", async () => {
  const bundle = await bundleProgram(join(import.meta.dirname, "../../test/release/uninstall-program.ts"));
  const NOBODY = 65534;
  chmodSync(dirname(home.user.home), 0o755);
  for (const folder of [home.user.home, home.paths.home, workspace()])
    execFileSync("chown", ["-R", `${NOBODY}:${NOBODY}`, folder]);
  execFileSync("chown", ["-R", "0:0", join(home.user.home, ".local")]);
  chownSync(home.user.home, NOBODY, NOBODY);
  try {
    const child = bundle.start(
      [home.paths.home, home.user.home, home.paths.program, "plain"],
      ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"],
    );
    const { problems } = await firstJson<{ problems: { path: string; problem: string; isProgram: boolean }[] }>(child);
    expect(problems.map(({ path }) => path)).toEqual(
      ["leoflow-server", "leoflow-agent"]
        .map((name) => join(home.user.bin, name))
        .concat(home.user.lib, join(home.user.bin, "leoflow")),
    );
    expect(problems.every(({ problem, isProgram }) => isProgram && problem === "permission denied")).toBe(true);
    expect(filesIn(home.paths.home)).toEqual([...KEPT, ...KEPT_TOO].sort());
    expect(await home.user.versions()).toEqual(["0.1.0", "0.1.0", "0.1.0"]);
  } finally {
    bundle.remove();
  }
});

describe("purge", () => {
  it("removes the home, the workspace and the program (U2)", async () => {
    expect(await remove(true)).toEqual([]);
    expect(existsSync(home.paths.home)).toBe(false);
    expect(existsSync(workspace())).toBe(false);
    expect(filesIn(home.user.home)).toEqual([".profile", "setup-calls"]);
  });

  it("follows a home and a workspace that are links", async () => {
    const disk = join(home.user.home, "disk");
    mkdirSync(disk);
    for (const [link, name] of [
      [home.paths.home, "leoflow"],
      [workspace(), "dags"],
    ] as const) {
      execFileSync("mv", [link, join(disk, name)]);
      symlinkSync(join(disk, name), link);
    }
    expect(await remove(true)).toEqual([]);
    expect(contentsOf(disk)).toEqual({ "": expect.stringMatching(/^folder/) as string });
    expect(existsSync(home.paths.home)).toBe(false);
    expect(existsSync(workspace())).toBe(false);
  });

  it.each([
    ["/", "is a folder of the system"],
    ["/etc", "is a folder of the system"],
    ["/tmp", "is "],
    ["~", "is, or holds, your home directory"],
    ["~/..", "is, or holds, your home directory"],
    ["~/link", "is, or holds, your home directory"],
    [".", "holds "],
    [resolvePaths("/").program, "is part of Leoflow's own folder"],
    [join(resolvePaths("/").program, "examples"), "is part of Leoflow's own folder"],
  ])("refuses the workspace %s before anything is removed", async (folder, reason) => {
    symlinkSync(home.user.home, join(home.user.home, "link"));
    writeFileSync(home.paths.config, `workspace: "${folder}"\n`);
    home.paths = { ...home.paths, program: resolvePaths("/").program };
    const before = contentsOf(home.user.home);
    await expect(plan(true)).rejects.toThrow(`refusing to purge: the workspace`);
    await expect(plan(true)).rejects.toThrow(reason);
    expect(contentsOf(home.user.home)).toEqual(before);
    // A plain uninstall does not touch it, and so need not mind.
    await plan(false);
  });

  it("does not guess a workspace where the settings are gone or cannot be read", async () => {
    mkdirSync(join(home.user.home, "leoflow"));
    rmSync(home.paths.config);
    expect((await plan(true)).notes).toEqual([`${home.paths.config} is not there, so no workspace is known to remove`]);
    writeFileSync(home.paths.config, "workspace: [");
    expect((await plan(true)).notes[0]).toContain("the workspace stays, because it is not known");
    expect(await remove(true)).toEqual([]);
    expect(existsSync(workspace())).toBe(true);
    expect(existsSync(join(home.user.home, "leoflow"))).toBe(true);
  });

  it("names work that only this folder holds", async () => {
    const git = (folder: string, ...args: string[]) =>
      execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@b", "-C", folder, ...args], { stdio: "ignore" });
    expect((await plan(true)).notes).toEqual([]);
    git(workspace(), "init", "-q");
    const project = join(workspace(), "etl");
    mkdirSync(project);
    git(project, "init", "-q");
    git(project, "commit", "-q", "--allow-empty", "-m", "one");
    expect((await plan(true)).notes).toEqual([
      `${workspace()} is a git repository with 2 uncommitted change(s)`,
      `${project} is a git repository with 1 commit(s) that no remote has`,
    ]);
  });
});

describe("what runs", () => {
  it("stops the Leoflow that holds the home, and waits for it", async () => {
    const script = `
      import { acquireHomeLock } from ${JSON.stringify(join(import.meta.dirname, "home-lock.ts"))};
      const held = await acquireHomeLock(process.argv[2]);
      setInterval(() => undefined, 1000);
      process.on("SIGTERM", () => setTimeout(() => (held.lock.release(), process.exit(0)), 200));
      console.log("{}");`;
    const entry = join(home.user.home, "holder.ts");
    writeFileSync(entry, script);
    const bundle = await bundleProgram(entry);
    const child = bundle.start([home.paths.lock]);
    await firstJson(child);
    const found = await plan();
    expect(found.running?.pid).toBe(child.pid);
    const steps: string[] = [];
    await uninstall(options(false), found, { onStep: (text) => steps.push(text) });
    expect(steps).toEqual([`Stopping Leoflow (process ${child.pid})`]);
    await until("it ended well", () => child.exitCode === 0);
    expect(existsSync(home.paths.lock)).toBe(false);
    bundle.remove();
  });

  it("does not mind the lock of one that was killed", async () => {
    const ended = spawn("true");
    await new Promise((closed) => ended.once("close", closed));
    writeFileSync(home.paths.lock, JSON.stringify({ pid: ended.pid, started: "1" }));
    expect((await plan()).running).toBeUndefined();
    expect(await remove(true)).toEqual([]);
    expect(existsSync(home.paths.home)).toBe(false);
    expect("lock" in (await acquireHomeLock(home.paths.lock))).toBe(true);
  });
});
