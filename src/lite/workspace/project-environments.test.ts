import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { sharedUv } from "../../../test/support/home.ts";
import { testKit, testPython } from "../../../test/support/python.ts";
import { makeWheels } from "../../../test/support/wheels.ts";
import { environmentName, ProjectEnvironments, type EnvironmentState } from "./project-environments.ts";

let home: string;
let uvCalls: number;
let environments: ProjectEnvironments;

// A package index of our own: `core` stands for what the base environment pins, `tiny` for what projects ask for.
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "leoflow-venvs-"));
  makeWheels(join(home, "wheels"), [
    ["apache-airflow-core", "3.3.2", "shared<3"],
    ["apache-airflow-core", "3.4.0"],
    ["shared", "1.0"],
    ["shared", "2.0"],
    ["tiny", "1.0"],
    ["tiny", "2.0"],
  ]);
  writeLock("apache-airflow-core==3.3.2 \\\n    # via x\nshared==1.0\n");
});
afterAll(() => rmSync(home, { recursive: true, force: true }));
beforeEach(() => {
  uvCalls = 0;
  environments = make();
});

const writeLock = (text: string) => writeFileSync(join(home, "lock.txt"), text);

const make = (basePython = testPython()) =>
  new ProjectEnvironments(
    testKit,
    () => {
      uvCalls++;
      return sharedUv();
    },
    {
      folder: join(home, "venvs"),
      basePython,
      lockFile: join(home, "lock.txt"),
      uvEnvironment: { UV_NO_INDEX: "1", UV_FIND_LINKS: join(home, "wheels"), VIRTUAL_ENV: undefined },
    },
  );

async function settled(dependencies: readonly string[]): Promise<EnvironmentState | null> {
  const state = await environments.prepare(dependencies);
  if (state.kind === "building") await state.done;
  return environments.known(dependencies);
}

const hideWheels = (hidden: boolean) => {
  const [shown, aside] = [join(home, "wheels"), join(home, "aside")];
  if (hidden) renameSync(shown, aside);
  else renameSync(aside, shown);
};

const versionIn = (dependencies: readonly string[], module: string) =>
  execFileSync(
    join(home, "venvs", environmentName(dependencies), "bin/python"),
    ["-c", `import ${module}; print(${module}.VERSION)`],
    { encoding: "utf8" },
  ).trim();

it("needs none without dependencies", async () => {
  expect(await settled([])).toEqual({ kind: "ready", name: "default" });
  expect(uvCalls).toBe(0);
});

it("lets conflicting pins live side by side, each with the pinned Airflow and what the base has tested", async () => {
  const [one, two] = await Promise.all([settled(["tiny==1.0"]), settled(["tiny==2.0", "shared==2.0"])]);
  expect([one?.kind, two?.kind]).toEqual(["ready", "ready"]);
  expect([versionIn(["tiny==1.0"], "tiny"), versionIn(["tiny==2.0", "shared==2.0"], "tiny")]).toEqual(["1.0", "2.0"]);
  expect(versionIn(["tiny==1.0"], "apache_airflow_core")).toBe("3.3.2");
  // Kept as locked where nobody asks for another.
  expect(versionIn(["tiny==1.0"], "shared")).toBe("1.0");
  expect(versionIn(["tiny==2.0", "shared==2.0"], "shared")).toBe("2.0");
});

it("P9: installs nothing again while the list is the same, in any order", async () => {
  const list = ["tiny==1.0", "shared == 1.0"];
  await settled(list);
  uvCalls = 0;
  environments = make();
  expect(await settled([...list].reverse())).toEqual({ kind: "ready", name: environmentName(list) });
  expect(uvCalls).toBe(0);
  const marker = readFileSync(join(home, "venvs", environmentName(list), ".leoflow-deps"), "utf8");
  expect(marker.split("\n").slice(1)).toEqual(["shared == 1.0", "tiny==1.0", ""]);
});

it("fails with uv's message, and tries again when asked", async () => {
  const failed = await settled(["tiny==9"]);
  expect(failed).toMatchObject({ kind: "failed", message: expect.stringContaining("tiny==9") as string });
  expect(existsSync(join(home, "venvs", environmentName(["tiny==9"]), ".leoflow-deps"))).toBe(false);
  expect((await environments.prepare(["tiny==9"])).kind).toBe("building");
  const pinned = await settled(["apache-airflow-core==3.0.0"]);
  expect(pinned?.kind).toBe("failed");
});

const environment = (dependencies: readonly string[]) => join(home, "venvs", environmentName(dependencies));
const names = (dependencies: readonly string[]) => new Set([environmentName(dependencies)]);

it("#742: makes one anew when the base has another Python, on that one, and only when it is wanted", async () => {
  const list = ["tiny==1.0"];
  await settled(list);
  const link = readlinkSync(join(environment(list), "bin/python"));
  // The same interpreter under another name is another one as far as can be known.
  const other = join(home, "other/bin/python3");
  mkdirSync(dirname(other), { recursive: true });
  copyFileSync(realpathSync(testPython()), other);
  environments = make(other);
  expect(readlinkSync(join(environment(list), "bin/python"))).toBe(link);
  expect((await environments.prepare(list)).kind).toBe("building");
  // What runs in it goes on until the new one is whole.
  expect(versionIn(list, "tiny")).toBe("1.0");
  expect(await settled(list)).toEqual({ kind: "ready", name: environmentName(list) });
  expect(readlinkSync(join(environment(list), "bin/python"))).toBe(other);
  expect(versionIn(list, "tiny")).toBe("1.0");
  expect(readdirSync(join(home, "venvs")).filter((name) => /\.(new|old)$/.test(name))).toEqual([]);
});

it("what was there serves where a new one cannot be made, unless Airflow is another", async () => {
  const list = ["tiny==1.0", "shared>=1.0"];
  writeLock("apache-airflow-core==3.3.2\nshared==1.0\n");
  environments = make();
  await settled(list);
  writeLock("apache-airflow-core==3.3.2\nshared==2.0\n");
  hideWheels(true);
  try {
    environments = make();
    expect(await settled(list)).toEqual({ kind: "ready", name: environmentName(list) });
    expect(versionIn(list, "shared")).toBe("1.0");
    writeLock("apache-airflow-core==3.4.0\nshared==2.0\n");
    environments = make();
    expect((await settled(list))?.kind).toBe("failed");
    expect(versionIn(list, "tiny")).toBe("1.0");
  } finally {
    hideWheels(false);
  }
  expect((await settled(list))?.kind).toBe("ready");
  expect(versionIn(list, "apache_airflow_core")).toBe("3.4.0");
  writeLock("apache-airflow-core==3.3.2\nshared==1.0\n");
});

it("a swap that was cut short is finished, or undone, for what versions of before still need too", async () => {
  const list = ["tiny==2.0"];
  await settled(list);
  const path = environment(list);
  for (const left of [".old", ".new"]) {
    renameSync(path, `${path}${left}`);
    environments = make();
    uvCalls = 0;
    await environments.refreshOutdated(names(list));
    expect(environments.known(list)?.kind).toBe("ready");
    expect(uvCalls).toBe(0);
  }
  // Half of a new one is none.
  renameSync(path, `${path}.old`);
  mkdirSync(join(`${path}.new`, "bin"), { recursive: true });
  environments = make();
  expect(await settled(list)).toEqual({ kind: "ready", name: environmentName(list) });
  expect(uvCalls).toBe(0);
  await environments.collectGarbage(names(list), Date.now() + 1000, 0);
  expect(readdirSync(join(home, "venvs")).filter((name) => name.startsWith(environmentName(list)))).toEqual([
    environmentName(list),
  ]);
});

it("a task that runs goes on importing from where it began, though the new one is of another Python", async () => {
  const list = ["tiny==1.0", "shared==1.0"];
  await settled(list);
  const [library = ""] = readdirSync(join(environment(list), "lib"));
  const earlier = join(environment(list), "lib/python3.8");
  renameSync(join(environment(list), "lib", library), earlier);
  writeFileSync(join(environment(list), ".leoflow-deps"), "# base: another\nshared==1.0\ntiny==1.0\n");
  environments = make();
  await settled(list);
  expect(readFileSync(join(earlier, "site-packages/tiny.py"), "utf8")).toContain("1.0");
  expect(versionIn(list, "tiny")).toBe("1.0");
  // Not while this Leoflow runs; later, with all that led there.
  await environments.collectGarbage(names(list), Date.now() + 1000, 0);
  expect(existsSync(earlier)).toBe(true);
  environments = make();
  await settled(list);
  await environments.collectGarbage(names(list), Date.now() + 1000, 0);
  expect(readdirSync(join(environment(list), "lib"))).toEqual([library]);
});

it("makes them anew when the base changed, and removes those nobody names", async () => {
  const named = ["tiny==1.0"];
  await settled(named);
  await settled(["shared==1.0"]);
  const marker = () => readFileSync(join(home, "venvs", environmentName(named), ".leoflow-deps"), "utf8");
  const before = marker();
  writeLock("apache-airflow-core==3.3.2\nshared==2.0\n");
  environments = make();
  await environments.refreshOutdated(new Set([environmentName(named)]));
  await settled(named);
  expect(marker()).not.toBe(before);
  expect(versionIn(named, "shared")).toBe("2.0");
  await environments.collectGarbage(new Set([environmentName(named)]), Date.now() + 1000, 0);
  expect(existsSync(join(home, "venvs", environmentName(["shared==1.0"])))).toBe(false);
  expect(statSync(join(home, "venvs", environmentName(named))).isDirectory()).toBe(true);
});

it("ends an installation when it is stopped", async () => {
  const state = await environments.prepare(["tiny==1.0", "shared==2.0"]);
  await environments.stop();
  expect(state.kind).toBe("building");
  expect(environments.known(["tiny==1.0", "shared==2.0"])?.kind).toBe("failed");
});
