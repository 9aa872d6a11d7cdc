import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRepository, type TestRepository } from "../support/git.ts";
import {
  createLiteHome,
  runDag,
  runPath,
  triggerDag,
  until,
  waitForDag,
  waitForRun,
  xcomOf,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";

const GIT = "airflow.providers.git.bundles.git.GitDagBundle";
const LOCAL = "airflow.dag_processing.bundles.local.LocalDagBundle";

let home: LiteHome;
let lite: Lite;
let team: TestRepository;
let tagged: TestRepository;
let late: TestRepository;
let first: string;
let tag: string;
let env: Record<string, string>;

/** A DAG whose second task waits for a file, and tells what its helper module said when it was imported. */
const teamDag = (go: string) => `import os, time
from airflow.sdk import dag, task
from words import WORD
@dag(schedule=None)
def team_dag():
    @task
    def begin():
        return WORD
    @task
    def end(word):
        until = time.time() + 300
        while not os.path.exists(${JSON.stringify(go)}) and time.time() < until:
            time.sleep(0.05)
        return [word, WORD]
    end(begin())
team_dag()
`;
const simpleDag = (dagId: string, body: string, imports = "") =>
  `from airflow.sdk import dag, task\n${imports}\n@dag(schedule=None)\ndef ${dagId}():\n    @task\n    def only(ti=None):\n        ${body}\n    only()\n${dagId}()\n`;

const go = () => join(home.home, "go");
const folder = (name: string) => join(home.home, "..", name);

beforeAll(async () => {
  home = await createLiteHome();
  team = createRepository(folder("team-repository"));
  first = team.commit({
    "team.py": teamDag(go()),
    "words.py": 'WORD = "old"\n',
    "same.py": simpleDag("same", "return 1"),
  });
  tagged = createRepository(folder("tagged-repository"));
  tag = tagged.commit({
    "production/dags/tagged.py": simpleDag(
      "tagged",
      'bundle = ti.bundle_instance; return [bundle.name, bundle.version, LEFT, (Path(__file__).parents[1] / "data.txt").read_text()]',
      "from pathlib import Path\nfrom packed.inner import LEFT",
    ),
    "production/dags/packed/inner.py": 'LEFT = "in the subdir"\n',
    "production/data.txt": "beside it",
    "elsewhere.py": simpleDag("elsewhere", "return 0"),
  });
  tagged.git("tag", "--annotate", "--message=first", "v1");
  tagged.commit({ "production/dags/tagged.py": simpleDag("after_the_tag", "return 0") });
  late = createRepository(folder("late-repository.hidden"));
  late.commit({ "late.py": simpleDag("late", "return 1") });
  mkdirSync(folder("shared"));
  writeFileSync(join(folder("shared"), "shared.py"), simpleDag("shared", "return SHARED", "from of_all import SHARED"));
  writeFileSync(join(folder("shared"), "of_all.py"), 'SHARED = "by all"\n');
  const git = (name: string, repo_url: string, tracking_ref: string, more: object = {}) => {
    return { name, classpath: GIT, kwargs: { repo_url, tracking_ref, refresh_interval: 0.5, ...more } };
  };
  env = {
    AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST: JSON.stringify([
      { name: "dags-folder", classpath: LOCAL, kwargs: {} },
      git("team", team.url, "main", { git_conn_id: "not_read" }),
      git("released", tagged.url, "v1", { subdir: "production/dags/" }),
      git("late", `file://someone:secret@${folder("late-repository")}`, "main"),
      { name: "shared", classpath: LOCAL, kwargs: { path: folder("shared") } },
    ]),
  };
  lite = await home.start({ env });
});
afterAll(() => home.remove());

interface DagAnswer {
  bundle_name: string;
  bundle_version: string | null;
  is_stale: boolean;
}

const dagOf = (dagId: string) => lite.client.call("GET", `/api/v2/dags/${dagId}`) as Promise<DagAnswer>;
const versionsOf = async (dagId: string) =>
  (
    (await lite.client.call("GET", `/api/v2/dags/${dagId}/dagVersions?order_by=version_number`)) as {
      dag_versions: { version_number: number; bundle_name: string; bundle_version: string | null }[];
    }
  ).dag_versions.map((version) => [version.version_number, version.bundle_name, version.bundle_version]);
const log = () => readFileSync(join(home.home, "logs/leoflow.log"), "utf8");
const warnings = (about: string) =>
  log()
    .split("\n")
    .filter((line) => line.includes('"level":40') && line.includes(about));

describe("DAG bundles", () => {
  it("finish a run on the commit it started with while the branch moves on", async () => {
    const runId = await triggerDag(lite.client, "team_dag");
    expect(await dagOf("team_dag")).toMatchObject({ bundle_name: "team", bundle_version: first });
    await until("the run's first task is done", async () => (await xcomOrNull(runId)) === "old");

    const second = team.commit({ "words.py": 'WORD = "new"\n' });
    await until("the second commit is live", async () => (await versionsOf("team_dag")).length === 2);
    expect(await versionsOf("team_dag")).toEqual([
      [1, "team", first],
      [2, "team", second],
    ]);
    // The same code at a later commit is the same version.
    await until("all of it is", async () => (await dagOf("same")).bundle_version === second);
    expect(await versionsOf("same")).toEqual([[1, "team", second]]);

    writeFileSync(go(), "");
    expect((await waitForRun(lite.client, "team_dag", runId)).state).toBe("success");
    expect(await xcomOf(lite.client, "team_dag", runId, "end")).toEqual(["old", "old"]);
    expect(await lite.client.call("GET", runPath("team_dag", runId))).toMatchObject({
      bundle_version: first,
      dag_versions: [{ bundle_name: "team", bundle_version: first }],
    });
    const next = await runDag(lite.client, "team_dag");
    expect(await xcomOf(lite.client, "team_dag", next.runId, "end")).toEqual(["new", "new"]);
    expect(await lite.client.call("GET", runPath("team_dag", next.runId))).toMatchObject({ bundle_version: second });
  });

  it("stay at a tag, take DAGs from the subdir, and have the files around it", async () => {
    const run = await runDag(lite.client, "tagged");
    expect(await xcomOf(lite.client, "tagged", run.runId, "only")).toEqual([
      "released",
      tag,
      "in the subdir",
      "beside it",
    ]);
    for (const none of ["elsewhere", "after_the_tag"]) {
      await expect(lite.client.call("GET", `/api/v2/dags/${none}`)).rejects.toThrow("404");
    }
  });

  it("of a local folder are live, without versions", async () => {
    const run = await runDag(lite.client, "shared");
    expect(await xcomOf(lite.client, "shared", run.runId, "only")).toBe("by all");
    expect(await dagOf("shared")).toMatchObject({ bundle_name: "shared", bundle_version: null });
    writeFileSync(join(folder("shared"), "of_all.py"), 'SHARED = "again"\n');
    await until("the change is live", async () => (await versionsOf("shared")).length === 2);
  });

  it("whose repository cannot be reached say so once, and come when it can be", async () => {
    await until("it is said", () => warnings("DAG bundle late from").length > 0);
    renameSync(folder("late-repository.hidden"), folder("late-repository"));
    await waitForDag(lite.client, "late");
    renameSync(folder("late-repository"), folder("late-repository.hidden"));
    await until("it is said again", () => warnings("its DAGs stay as they are").length > 0);
    expect((await runDag(lite.client, "late")).state).toBe("success");
    expect(warnings("DAG bundle late from")).toHaveLength(2);
    expect(log()).not.toContain("someone:secret");
    expect(warnings("the DAG bundle team: without effect: git_conn_id")).toHaveLength(1);
  });

  it("are left out when they are no longer configured, and taken up again", async () => {
    await lite.stop();
    writeFileSync(join(home.workspace, "team/kept.txt"), "a task wrote it");
    lite = await home.start();
    await until("its DAGs are stale", async () => (await dagOf("team_dag")).is_stale);
    await lite.stop();
    lite = await home.start({ env });
    await until("its DAGs are back", async () => !(await dagOf("team_dag")).is_stale);
    const third = team.commit({ "same.py": null });
    await until("a DAG of a removed file is stale", async () => (await dagOf("same")).is_stale);
    await until("the other is of that commit", async () => (await dagOf("team_dag")).bundle_version === third);
    expect(existsSync(join(home.workspace, "team/kept.txt"))).toBe(true);
  });
});

async function xcomOrNull(runId: string): Promise<unknown> {
  return await xcomOf(lite.client, "team_dag", runId, "begin").catch(() => null);
}
