import { expect, it } from "vitest";
import { readBundleSettings } from "./bundle-settings.ts";

const GIT = "airflow.providers.git.bundles.git.GitDagBundle";
const LOCAL = "airflow.dag_processing.bundles.local.LocalDagBundle";

const read = (...list: unknown[]) => readBundleSettings(JSON.stringify(list), "/home/me");
const git = (kwargs: object, name: unknown = "team") => ({
  name,
  classpath: GIT,
  kwargs: { repo_url: "https://host/x.git", tracking_ref: "main", ...kwargs },
});

it("reads git and local bundles with Airflow's defaults", () => {
  expect(
    read(
      { name: "dags-folder", classpath: LOCAL, kwargs: {} },
      git({}),
      git({ subdir: "a//b/", refresh_interval: 30, submodules: false, prune_dotgit_folder: true }, "other"),
      { name: "mine", classpath: LOCAL, kwargs: { path: "~/dags" }, team_name: null },
    ),
  ).toEqual({
    bundles: [
      {
        kind: "git",
        name: "team",
        repoUrl: "https://host/x.git",
        trackingRef: "main",
        subdir: null,
        refreshSeconds: 300,
      },
      {
        kind: "git",
        name: "other",
        repoUrl: "https://host/x.git",
        trackingRef: "main",
        subdir: "a/b",
        refreshSeconds: 30,
      },
      { kind: "local", name: "mine", path: "/home/me/dags" },
    ],
    teams: new Map(),
    warnings: [],
  });
  expect(readBundleSettings(undefined, "/")).toEqual({ bundles: [], teams: new Map(), warnings: [] });
});

it("names what has no effect, and leaves out what it does not know", () => {
  const { bundles, warnings } = read(
    git({ git_conn_id: "g", submodules: true, sparse_dirs: null }),
    { name: "s3", classpath: "airflow.providers.amazon.aws.bundles.s3.S3DagBundle", kwargs: {} },
    { ...git({}, "b"), colour: "x" },
  );
  expect(bundles.map(({ name }) => name)).toEqual(["team", "b"]);
  expect(warnings).toEqual([
    "the DAG bundle team: without effect: git_conn_id, submodules",
    "the DAG bundle s3 is left out: airflow.providers.amazon.aws.bundles.s3.S3DagBundle is not supported, GitDagBundle and LocalDagBundle are",
    "the DAG bundle b: without effect: colour",
  ]);
});

it("tells whose bundles are, the workspace's own DAGs included, in multi-team mode only", () => {
  const owned = [
    { name: "dags-folder", classpath: LOCAL, kwargs: {}, team_name: "team_a" },
    { ...git({}, "b"), team_name: "team_b" },
    { ...git({}, "c"), team_name: null },
  ];
  const { bundles, teams, warnings } = readBundleSettings(JSON.stringify(owned), "/", { multiTeam: true });
  expect(bundles.map(({ name }) => name)).toEqual(["b", "c"]);
  expect([...teams]).toEqual([
    ["dags-folder", "team_a"],
    ["b", "team_b"],
  ]);
  expect(warnings).toEqual([]);
  expect(() => read(...owned)).toThrow("the bundle dags-folder has a team_name, and multi-team mode is off");
});

it.each([
  ["{", "it is not JSON"],
  ["{}", "it is not a list"],
  ["[1]", "1 is not an object"],
  [JSON.stringify([git({}), git({})]), 'the name "team" appears more than once'],
  ...["../x", "a/b", ".hidden", "", "venv", 1].map((name) => [
    JSON.stringify([git({}, name)]),
    "is not a name for a bundle",
  ]),
  [JSON.stringify([git({}, "dags-folder")]), "dags-folder is the workspace"],
  [JSON.stringify([{ name: "dags-folder", classpath: LOCAL, kwargs: { path: "/x" } }]), "dags-folder is the workspace"],
  [JSON.stringify([{ name: "x", classpath: LOCAL }]), "the bundle x has no kwargs"],
  [JSON.stringify([git({ repo_url: null })]), "the bundle team has no repo_url"],
  [JSON.stringify([git({ tracking_ref: "" })]), "the bundle team has no tracking_ref"],
  [JSON.stringify([git({ tracking_ref: 1 })]), "tracking_ref of the bundle team is 1, not a text"],
  [JSON.stringify([git({ refresh_interval: 0 })]), "refresh_interval of the bundle team is 0, not a number of seconds"],
  [JSON.stringify([{ ...git({}), team_name: 1 }]), "team_name of the bundle team is 1, not a text"],
  [JSON.stringify([git({ subdir: "../out" })]), "must be a folder inside the repository"],
  [JSON.stringify([git({ subdir: "/etc" })]), "must be a folder inside the repository"],
])("refuses %s", (text, message) => {
  expect(() => readBundleSettings(text, "/home/me")).toThrow(
    expect.objectContaining({ message: expect.stringContaining(message) as string, exitCode: 2 }),
  );
});
