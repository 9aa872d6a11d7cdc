import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { sharedUv } from "../../../test/support/home.ts";
import { testKit, testPython } from "../../../test/support/python.ts";
import { environmentName, ProjectEnvironments, type EnvironmentState } from "./project-environments.ts";

let home: string;
let uvCalls: number;
let environments: ProjectEnvironments;

// A package index of our own: `core` stands for what the base environment pins, `tiny` for what projects ask for.
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "leoflow-venvs-"));
  mkdirSync(join(home, "wheels"));
  const script = `
import sys, zipfile
for name, version, requires in (("apache-airflow-core", "3.3.2", "shared<3"), ("shared", "1.0", ""), ("shared", "2.0", ""), ("tiny", "1.0", ""), ("tiny", "2.0", "")):
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    with zipfile.ZipFile(f"{sys.argv[1]}/{module}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{module}.py", f"VERSION = {version!r}\\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n" + (f"Requires-Dist: {requires}\\n" if requires else ""))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
`;
  execFileSync(testPython(), ["-c", script, join(home, "wheels")]);
  writeLock("apache-airflow-core==3.3.2 \\\n    # via x\nshared==1.0\n");
});
afterAll(() => rmSync(home, { recursive: true, force: true }));
beforeEach(() => {
  uvCalls = 0;
  environments = make();
});

const writeLock = (text: string) => writeFileSync(join(home, "lock.txt"), text);

const make = () =>
  new ProjectEnvironments(
    testKit,
    () => {
      uvCalls++;
      return sharedUv();
    },
    {
      folder: join(home, "venvs"),
      basePython: testPython(),
      lockFile: join(home, "lock.txt"),
      uvEnvironment: { UV_NO_INDEX: "1", UV_FIND_LINKS: join(home, "wheels"), VIRTUAL_ENV: undefined },
    },
  );

async function settled(dependencies: readonly string[]): Promise<EnvironmentState | null> {
  const state = await environments.prepare(dependencies);
  if (state.kind === "building") await state.done;
  return environments.known(dependencies);
}

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

it("installs nothing again while the list is the same, in any order", async () => {
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
