import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { programVersion } from "../../src/kit/version.ts";
import { PAGES } from "../../src/api/leoflow/pages.ts";
import { loadMigrations } from "../../src/store/migrations.ts";
import { createLiteHome, processesOf, runDag, type LiteHome } from "../support/lite.ts";
import { builtRelease, copyTree, HOST_PLATFORM, runRelease, type BuiltRelease } from "../support/release.ts";
import { entriesOf, unpack, type ArchiveEntry } from "../support/unpack.ts";
import { toolbox } from "./tools.ts";

const PROGRAMS = ["leoflow", "leoflow-server", "leoflow-agent"];
const repository = join(import.meta.dirname, "../..");
/** Of the system, what an installed Leoflow may use: a shell, coreutils, `ps`, `grep`; as root a way to be somebody else. */
const TOOLS = ["sh", "readlink", "dirname", "cat", "head", "sleep", "uname", "id", "ps", "grep", "unshare", "setpriv"];

let folder: string;
let release: BuiltRelease;
let installed: string;
/** A PATH without Node. */
let path: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-release-"));
  release = await builtRelease();
  await unpack(release.archive, folder);
  installed = join(folder, `leoflow-${release.version}`);
  path = toolbox(join(folder, "tools"), TOOLS);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const sha256 = (file: string) => createHash("sha256").update(readFileSync(file)).digest("hex");

describe("an archive", () => {
  it("has the same bytes when it is built elsewhere", async () => {
    const tree = join(folder, "another tree");
    mkdirSync(tree);
    copyTree(tree);
    await runRelease(tree, ["--platform", HOST_PLATFORM, "--out", join(folder, "again")]);
    const again = join(folder, "again", `v${release.version}`, basename(release.archive));
    expect(sha256(again)).toBe(sha256(release.archive));
  });

  it("holds one folder of plain files that belong to nobody in particular", async () => {
    const entries = [...(await entriesOf(release.archive)).values()].map(({ header }) => header);
    for (const { name, type, uid, gid, mode, mtime } of entries) {
      expect(name).toMatch(new RegExp(`^leoflow-${release.version}/`));
      expect({ name, uid, gid, mtime }).toEqual({ name, uid: 0, gid: 0, mtime: new Date("2000-01-01T00:00:00Z") });
      const isProgram = /\/(bin\/[^/]+|lib\/node)$/.test(name);
      expect({ name, type, mode }).toEqual(
        name.endsWith("/")
          ? { name, type: "directory", mode: 0o755 }
          : { name, type: "file", mode: isProgram ? 0o755 : 0o644 },
      );
    }
    const names = entries.map(({ name }) => name.slice(`leoflow-${release.version}/`.length));
    for (const program of PROGRAMS) expect(names).toContain(`bin/${program}`);
    for (const needed of ["LICENSE", "VERSION", "dist/main.js", "lib/node", "licenses/node.txt"]) {
      expect(names).toContain(needed);
    }
    for (const { name } of PAGES) {
      expect(names).toEqual(expect.arrayContaining([`dist/web/${name}.js`, `dist/web/${name}.css`]));
    }
    // The editor's and the user's leftovers, sources and maps are not for shipping, but what users' TypeScript imports is.
    expect(names).toEqual(expect.arrayContaining(["dist/task-runner.js", "sdk/typescript/src/index.ts"]));
    expect(names.filter((name) => /\.map$|^(?!sdk\/).*\.ts$|\.test\.|__pycache__|\.in$/.test(name))).toEqual([]);
    // All of npm's packages are bundled but those with native code.
    expect(names.filter((name) => /^node_modules\/(?!@node-rs\/(argon2|$)|@?esbuild\/|$)/.test(name))).toEqual([]);
    expect(names.filter((name) => name.startsWith("migrations/") && name.endsWith(".sql"))).toHaveLength(
      loadMigrations().length,
    );
    expect(readFileSync(join(installed, "VERSION"), "utf8")).toBe(`${programVersion}\n`);
  });

  it("is named with its sum in checksums.txt, by `latest` and in Homebrew's formula", () => {
    const name = basename(release.archive);
    const sums = readFileSync(join(release.out, `v${release.version}/checksums.txt`), "utf8");
    expect(sums).toBe(`${sha256(release.archive)}  ${name}\n`);
    expect(readFileSync(join(release.out, "latest"), "utf8")).toBe(`${release.version}\n`);
    expect(readFileSync(join(release.out, "install.sh"))).toEqual(readFileSync(join(repository, "install.sh")));

    const file = join(release.out, "leoflow.rb");
    const formula = readFileSync(file, "utf8");
    const releases = /^RELEASES=(\S+)$/m.exec(readFileSync(join(repository, "install.sh"), "utf8"))?.[1];
    expect(formula).toContain(`url "${releases}/download/v${release.version}/${name}"\n`);
    expect(formula).toContain(`sha256 "${sha256(release.archive)}"\n`);
    const opened = formula.match(/\bdo$|^class |^ {2}def /gm)?.length;
    expect(formula.match(/^ *end$/gm)).toHaveLength(opened ?? 0);
    const ruby = spawnSync("ruby", ["-c", file], { encoding: "utf8" });
    if (ruby.error === undefined) expect(ruby.stdout).toContain("Syntax OK");
  });

  it("for another platform has that platform's Node and native code", async () => {
    const other = HOST_PLATFORM === "darwin-arm64" ? "linux-x64" : "darwin-arm64";
    const out = join(folder, "other");
    await runRelease(repository, ["--platform", other, "--out", out]);
    const name = `leoflow_${release.version}_${other.replace("-", "_")}.tar.gz`;
    const entries = await entriesOf(join(out, `v${release.version}`, name));
    const magic = other.startsWith("darwin") ? "cffaedfe" : "7f454c46";
    const head = (entry: ArchiveEntry | undefined) => entry?.head.subarray(0, 4).toString("hex");
    expect(head(entries.get(`leoflow-${release.version}/lib/node`))).toBe(magic);
    const native = [...entries].filter(([each]) => each.endsWith(".node"));
    expect(native.map(([each, entry]) => [basename(each), head(entry)])).toEqual([[`argon2.${other}.node`, magic]]);
    const formula = readFileSync(join(out, "leoflow.rb"), "utf8");
    expect(formula).toMatch(/on_macos do\n {4}on_arm do\n {6}url ".+_darwin_arm64\.tar\.gz"/);
  });

  it("is not made for what the options do not mean", () => {
    const run = (...args: string[]) =>
      spawnSync(process.execPath, [join(repository, "release/main.mjs"), ...args], { encoding: "utf8" });
    for (const args of [["--platform", "solaris-sparc"], ["--python", "3.9"], ["--nope"]]) {
      const { status, stderr } = run(...args);
      expect(status).toBe(2);
      expect(stderr).toMatch(/^error: .+\n {2}fix: `npm run release -- --help` lists what there is\n$/);
    }
    expect(run("--help").stdout).toContain("Examples:");
  });
});

describe("an unpacked archive, on a machine without Node", () => {
  it("starts each program through links, from anywhere", () => {
    const links = join(folder, "links");
    mkdirSync(links);
    for (const program of PROGRAMS) {
      // As install.sh does: a link beside, to one behind a link to the version's folder.
      symlinkSync(join("..", `leoflow-${release.version}`), join(links, `current-${program}`));
      symlinkSync(`current-${program}/bin/${program}`, join(links, program));
      const result = spawnSync(join(links, program), ["--version"], {
        encoding: "utf8",
        cwd: "/",
        env: { PATH: path },
      });
      expect(result.stdout, result.stderr).toBe(`${programVersion}\n`);
    }
    const result = spawnSync("leoflow", ["version", "--json"], {
      encoding: "utf8",
      env: { PATH: `${links}:${path}` },
    });
    const pinned = JSON.parse(readFileSync(join(repository, "release/node.lock.json"), "utf8")) as { version: string };
    expect(JSON.parse(result.stdout)).toMatchObject({
      version: programVersion,
      node_version: pinned.version,
      platform: HOST_PLATFORM,
      schema_version: loadMigrations().at(-1)?.version,
    });
  });

  describe("leoflow lite", () => {
    let home: LiteHome;
    beforeAll(async () => {
      home = await createLiteHome([join(installed, "bin/leoflow")]);
    });
    afterAll(() => home.remove());

    it("signs in and runs a DAG with no Node but its own", async () => {
      const before = new Set(readdirSync(installed, { recursive: true, encoding: "utf8" }));
      const lite = await home.start({ env: { PATH: path } });
      const programs = processesOf(home.home).map(({ pid }) => executableOf(pid));
      expect(programs.filter((program) => program === join(installed, "lib/node"))).toHaveLength(1);
      expect(programs.filter((program) => basename(program) === "postgres").length).toBeGreaterThan(0);
      expect(programs.filter((program) => basename(program).startsWith("python")).length).toBeGreaterThan(0);
      expect(programs.filter((program) => /node/.test(program) && !program.startsWith(installed))).toEqual([]);
      // The starter was in the archive too, and its run is green.
      const run = await runDag(lite.client, "hello_leoflow");
      expect(run.state).toBe("success");
      const page = await fetch(`${lite.base}/`, { redirect: "follow" });
      expect(await page.text()).toContain("<html");
      expect((await lite.stop()).code).toBe(0);
      // Nothing of its own was changed; Python keeps its compiled files beside the sources.
      const added = readdirSync(installed, { recursive: true, encoding: "utf8" }).filter((name) => !before.has(name));
      expect(added.filter((name) => !name.includes("__pycache__"))).toEqual([]);
    });
  });
});

function executableOf(pid: number): string {
  const link = `/proc/${pid}/exe`;
  try {
    return existsSync(link) ? readlinkSync(link) : "";
  } catch {
    return "";
  }
}
