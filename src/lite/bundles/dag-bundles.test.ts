import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { systemClock } from "../../kit/clock.ts";
import { createRepository, type TestRepository } from "../../../test/support/git.ts";
import { DagFileFinder } from "../workspace/discovery.ts";
import type { BundleSettings, GitBundle } from "./bundle-settings.ts";
import { DagBundles } from "./dag-bundles.ts";

let base: string;
let workspace: string;
let repository: TestRepository;
let bundles: DagBundles | null;
let lines: string[];
let changes: string[];

beforeEach(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), "leoflow-bundles-")));
  workspace = join(base, "workspace");
  mkdirSync(workspace);
  repository = createRepository(join(base, "repository"));
  bundles = null;
  lines = [];
  changes = [];
});
afterEach(async () => {
  await bundles?.stop();
  rmSync(base, { recursive: true, force: true });
});

const git = (settings: Partial<GitBundle> = {}): GitBundle => ({
  kind: "git",
  name: "team",
  repoUrl: repository.url,
  trackingRef: "main",
  subdir: null,
  refreshSeconds: 0.05,
  ...settings,
});

async function start(...settings: BundleSettings[]): Promise<void> {
  await bundles?.stop();
  const logger = pino({ level: "info" }, { write: (line: string) => void lines.push(line) });
  bundles = new DagBundles(
    { logger, clock: systemClock },
    {
      changeFolder: async (folder, change) => {
        changes.push(folder);
        await change();
      },
    },
    { bundles: settings, workspace, mirrorsFolder: join(base, "mirrors") },
  );
  await bundles.prepare();
  await bundles.start();
}

const versionOf = async (relPath: string) => (await bundles?.of(relPath))?.version;
const at = (commit: string) =>
  vi.waitFor(async () => expect(await versionOf("team/x.py")).toBe(commit), { timeout: 30_000, interval: 20 });
const text = (relPath: string) => readFileSync(join(workspace, relPath), "utf8");
const files = async () => [...(await new DagFileFinder(workspace, "glob", bundles?.roots).scan()).dagFiles.keys()];

it("follows a branch: changes what differs, removes what went, leaves the rest", async () => {
  const first = repository.commit({ "a.py": "# airflow dag 1", "b.py": "b", "pack/c.py": "c" });
  await start(git());
  await at(first);
  expect(await bundles?.of("team/a.py")).toEqual({ name: "team", version: first });
  expect(await bundles?.of("other/a.py")).toEqual({ name: "dags-folder", version: null });
  expect(await bundles?.of("team")).toEqual({ name: "dags-folder", version: null });
  const stamp = () => {
    const { ino, ctimeNs } = statSync(join(workspace, "team/b.py"), { bigint: true });
    return { ino, ctimeNs };
  };
  const untouched = stamp();
  writeFileSync(join(workspace, "team/output.csv"), "of a task");

  const second = repository.commit({ "a.py": "# airflow dag 2", "pack/c.py": null });
  await at(second);
  expect(text("team/a.py")).toBe("# airflow dag 2");
  expect(existsSync(join(workspace, "team/pack"))).toBe(false);
  expect(text("team/output.csv")).toBe("of a task");
  expect(stamp()).toEqual(untouched);
  expect(changes).toEqual(["team", "team"]);

  // Rewritten history, too.
  repository.git("reset", "--quiet", "--hard", first);
  await at(first);
  expect(text("team/pack/c.py")).toBe("c");
});

it("takes a branch before a tag, a tag before a commit, and a part of a commit's name", async () => {
  const first = repository.commit({ "a.py": "1" });
  repository.git("tag", "--annotate", "--message=x", "both");
  repository.git("tag", "only-tag");
  const second = repository.commit({ "a.py": "2" });
  repository.git("branch", "both");
  for (const [trackingRef, commit] of [
    ["both", second],
    ["only-tag", first],
    [second, second],
    [first.slice(0, 8), first],
  ] as const) {
    await start(git({ trackingRef }));
    await at(commit);
  }
});

it("starts with the files it had, mends them, and goes on without a network", async () => {
  const first = repository.commit({ "a.py": "1", "gone.py": "1" });
  await start(git());
  await at(first);
  await bundles?.stop();
  rmSync(join(workspace, "team/a.py"));
  // A git that was killed at its work.
  for (const lock of ["team/.leoflow-bundle.index.lock", "../mirrors/team.git/HEAD.lock"]) {
    writeFileSync(join(workspace, lock), "");
  }
  rmSync(join(base, "repository"), { recursive: true });
  await start(git());
  expect(await versionOf("team/a.py")).toBe(first);
  expect(text("team/a.py")).toBe("1");
  const said = () => lines.filter((line) => line.includes("its DAGs stay as they are"));
  await vi.waitFor(() => expect(said()).toHaveLength(1), { timeout: 30_000 });

  // Another repository, or a home that was lost: what is no longer in it goes.
  rmSync(join(base, "mirrors"), { recursive: true });
  repository = createRepository(join(base, "repository"));
  const other = repository.commit({ "a.py": "other" });
  await start(git());
  await at(other);
  expect(existsSync(join(workspace, "team/gone.py"))).toBe(false);
});

it("says which name the repository does not have", async () => {
  repository.commit({ "a.py": "1" });
  await start(git({ trackingRef: "nowhere" }));
  await vi.waitFor(
    () => expect(lines.join()).toContain("(it has no DAGs yet): nowhere is neither a branch, nor a tag, nor a commit"),
    { timeout: 30_000 },
  );
});

it("finds DAG files in the subdir only, and leaves out folders of bundles that are no more", async () => {
  const dag = "# airflow dag";
  const first = repository.commit({ "dags/a.py": dag, "b.py": dag, "dags_too/c.py": dag });
  mkdirSync(join(base, "shared"));
  writeFileSync(join(base, "shared/d.py"), dag);
  const local: BundleSettings = { kind: "local", name: "shared", path: join(base, "shared") };
  writeFileSync(join(workspace, "own.py"), dag);
  await start(git({ subdir: "dags" }), local);
  await at(first);
  expect(await files()).toEqual(["own.py", "shared/dags/d.py", "team/dags/a.py"]);
  expect(await bundles?.of("shared/dags/d.py")).toEqual({ name: "shared", version: null });
  await start(git({ subdir: null }));
  expect(await files()).toEqual(["own.py", "team/b.py", "team/dags/a.py", "team/dags_too/c.py"]);
  await start(git({ subdir: "missing" }));
  await start(git({ name: "fresh", subdir: "missing" }));
  await vi.waitFor(() => expect(lines.join()).toContain("there is no folder fresh/missing at"), { timeout: 30_000 });
});

it("never takes a folder of the user's own", async () => {
  mkdirSync(join(workspace, "team"));
  writeFileSync(join(workspace, "team/mine.py"), "mine");
  await expect(start(git())).rejects.toThrow(`${workspace}/team is in the way of the DAG bundle team`);
  expect(text("team/mine.py")).toBe("mine");
  const inside: BundleSettings = { kind: "local", name: "inside", path: join(workspace, "team") };
  await expect(start(inside)).rejects.toThrow("lie in one another");
});

it("says that git is missing", async () => {
  vi.stubEnv("PATH", base);
  await expect(start(git())).rejects.toThrow("the DAG bundle team needs git, and there is no `git` on the PATH");
  vi.unstubAllEnvs();
});
