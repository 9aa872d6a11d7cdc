import { afterAll, beforeAll, expect, it } from "vitest";
import type { ParsedDag } from "../domain/parse-result.ts";
import { parseInstant } from "../kit/instant.ts";
import { toJsonText } from "../kit/json-text.ts";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { serializedDag } from "../../test/support/factories.ts";
import { loadCatalogFiles, removeDagFiles, versionedArchives } from "./dag-catalog-files.ts";
import { registerDagFile, type DagFileRegistration } from "./dag-catalog.ts";

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.close());

function parsed(dagId: string, changes: Partial<ParsedDag> = {}): ParsedDag {
  return {
    dagId,
    serialized: toJsonText(serializedDag(dagId)),
    dagHash: "h1",
    fileloc: "/ws/a.py",
    displayName: null,
    description: null,
    owners: "airflow",
    tags: [],
    timetableType: "airflow.timetables.simple.NullTimetable",
    timetableSummary: "None",
    timetableDescription: "Never, external triggers only",
    timetablePeriodic: false,
    timetablePartitioned: false,
    assetExpression: null,
    maxActiveTasks: 16,
    maxActiveRuns: 16,
    maxConsecutiveFailedDagRuns: 0,
    hasTaskConcurrencyLimits: false,
    failFast: false,
    isPausedUponCreation: null,
    allowedRunTypes: null,
    sourceCode: "# v1",
    ...changes,
  };
}

const register = (changes: Partial<DagFileRegistration>) =>
  registerDagFile(test.db, {
    relPath: "a.py",
    fileloc: `/ws/${changes.relPath ?? "a.py"}`,
    bundle: { name: "dags-folder", version: null },
    archiveDigest: "d1",
    environment: "default",
    dags: [],
    warnings: [],
    importErrors: new Map(),
    parsedAt: parseInstant("2026-01-01T00:00:00Z"),
    durationSeconds: 0.5,
    pausedAtCreation: true,
    isPresent: () => true,
    ...changes,
  });

const dagRow = (dagId: string) =>
  test.db.selectFrom("dag").where("dag_id", "=", dagId).selectAll().executeTakeFirstOrThrow();
const versionsOf = (dagId: string) =>
  test.db.selectFrom("dag_version").where("dag_id", "=", dagId).selectAll().orderBy("version_number").execute();
const errorOf = async (filename: string) =>
  (await test.db.selectFrom("import_error").where("filename", "=", filename).select("stacktrace").executeTakeFirst())
    ?.stacktrace;

it("makes a version only when the hash, the files or the environment changed", async () => {
  const relPath = "versions.py";
  expect((await register({ relPath, dags: [parsed("v")] })).changed).toEqual(["v"]);
  expect((await register({ relPath, dags: [parsed("v")] })).changed).toEqual([]);
  await register({ relPath, dags: [parsed("v", { dagHash: "h2" })] });
  await register({ relPath, dags: [parsed("v", { dagHash: "h2", sourceCode: "# v3" })], archiveDigest: "d2" });
  expect((await register({ relPath, dags: [parsed("v", { dagHash: "h2" })], archiveDigest: "d2" })).changed).toEqual(
    [],
  );
  await register({ relPath, dags: [parsed("v", { dagHash: "h2" })], archiveDigest: "d2", environment: "e2" });
  const versions = await versionsOf("v");
  expect(versions.map((row) => [row.version_number, row.dag_hash, row.archive_digest, row.environment])).toEqual([
    [1, "h1", "d1", "default"],
    [2, "h2", "d1", "default"],
    [3, "h2", "d2", "default"],
    [4, "h2", "d2", "e2"],
  ]);
  expect((await dagRow("v")).current_version_id).toBe(versions[3]?.id);
  expect((await versionedArchives(test.db)).digests).toContain("d2");
});

it("takes pausing only for new DAGs, everything else on every parse", async () => {
  const relPath = "paused.py";
  await register({ relPath, dags: [parsed("p1"), parsed("p2", { isPausedUponCreation: false, tags: ["x", "y"] })] });
  expect((await dagRow("p1")).is_paused).toBe(true);
  expect((await dagRow("p2")).is_paused).toBe(false);
  await register({
    relPath,
    dags: [parsed("p1"), parsed("p2", { isPausedUponCreation: true, tags: ["y", "z"], description: "new" })],
  });
  expect(await dagRow("p2")).toMatchObject({ is_paused: false, description: "new", last_parse_duration: 0.5 });
  const tags = await test.db.selectFrom("dag_tag").where("dag_id", "=", "p2").select("name").orderBy("name").execute();
  expect(tags.map(({ name }) => name)).toEqual(["y", "z"]);
});

it("keeps the last good version through an import error, and clears the error after it", async () => {
  const relPath = "broken.py";
  await register({ relPath, dags: [parsed("b")] });
  expect((await register({ relPath, importErrors: new Map([[relPath, "Traceback\0: boom"]]) })).changed).toEqual(["b"]);
  expect(await dagRow("b")).toMatchObject({ is_stale: false, has_import_errors: true });
  expect(await errorOf(relPath)).toBe("Traceback: boom");
  expect((await register({ relPath, importErrors: new Map([[relPath, "other"]]) })).changed).toEqual([]);
  expect((await register({ relPath, dags: [parsed("b")] })).changed).toEqual(["b"]);
  expect(await dagRow("b")).toMatchObject({ has_import_errors: false });
  expect(await errorOf(relPath)).toBeUndefined();
  expect(await versionsOf("b")).toHaveLength(1);
});

it("makes a DAG stale that its file no longer defines, and revives it", async () => {
  const relPath = "two.py";
  await register({ relPath, dags: [parsed("t1"), parsed("t2")] });
  expect(await register({ relPath, dags: [parsed("t1")] })).toMatchObject({ changed: ["t2"], released: ["t2"] });
  expect((await dagRow("t2")).is_stale).toBe(true);
  expect((await register({ relPath, dags: [parsed("t1"), parsed("t2")] })).changed).toEqual(["t2"]);
  expect((await dagRow("t2")).is_stale).toBe(false);
  expect(await removeDagFiles(test.db, [relPath])).toEqual(["t1", "t2"]);
  expect(await removeDagFiles(test.db, [relPath])).toEqual([]);
});

it("leaves a dag_id with the file that had it first, and names both", async () => {
  await register({ relPath: "first.py", dags: [parsed("twice", { fileloc: "/ws/first.py" })] });
  const outcome = await register({
    relPath: "second.py",
    dags: [
      parsed("twice", { fileloc: "/ws/second.py", dagHash: "other" }),
      parsed("mine", { fileloc: "/ws/second.py" }),
    ],
  });
  expect(outcome.conflicts).toEqual([{ dagId: "twice", owner: "first.py" }]);
  expect(await errorOf("second.py")).toBe(
    "AirflowDagDuplicatedIdException: Ignoring DAG twice from /ws/second.py - also found in /ws/first.py",
  );
  expect(await dagRow("twice")).toMatchObject({ relative_fileloc: "first.py", has_import_errors: false });
  expect(await dagRow("mine")).toMatchObject({ relative_fileloc: "second.py", has_import_errors: true });
  // The first file is gone: the second has it.
  await register({ relPath: "second.py", dags: [parsed("twice")], isPresent: (relPath) => relPath !== "first.py" });
  expect(await dagRow("twice")).toMatchObject({ relative_fileloc: "second.py" });
  expect(await errorOf("second.py")).toBeUndefined();
});

it("lets one of two files win that bring the same new dag_id at once", async () => {
  const files = ["r1.py", "r2.py", "r3.py"];
  const outcomes = await Promise.all(files.map((relPath) => register({ relPath, dags: [parsed("race")] })));
  expect(outcomes.filter(({ conflicts }) => conflicts.length === 0)).toHaveLength(1);
  expect(await versionsOf("race")).toHaveLength(1);
});

it("warns of pools that do not exist, and keeps Airflow's warnings only", async () => {
  const serialized = toJsonText(
    serializedDag("w", [
      { id: "a", pool: "nope" },
      { id: "b", partial_kwargs: { pool: "neither" } },
      { id: "c", pool: "default_pool" },
    ]),
  );
  const warnings = [
    { dagId: "w", warningType: "runtime varying value", message: "m" },
    { dagId: "w", warningType: "DeprecationWarning", message: "m" },
    { dagId: "elsewhere", warningType: "asset conflict", message: "m" },
  ];
  await register({ relPath: "w.py", dags: [parsed("w", { serialized })], warnings });
  const rows = await test.db
    .selectFrom("dag_warning")
    .where("dag_id", "=", "w")
    .selectAll()
    .orderBy("warning_type")
    .execute();
  expect(rows.map((row) => [row.warning_type, row.message])).toEqual([
    ["non-existent pool", "Dag 'w' references non-existent pools: ['neither', 'nope']"],
    ["runtime varying value", "m"],
  ]);
  await register({ relPath: "w.py", dags: [parsed("w")] });
  expect(await test.db.selectFrom("dag_warning").where("dag_id", "=", "w").selectAll().execute()).toEqual([]);
});

it("takes a file that generates thousands of DAGs", async () => {
  const dags = Array.from({ length: 3500 }, (_, index) => parsed(`many_${index}`, { tags: ["generated"] }));
  expect((await register({ relPath: "many.py", dags })).changed).toHaveLength(3500);
  expect((await register({ relPath: "many.py", dags })).changed).toEqual([]);
});

it("tells what it holds of each file", async () => {
  await register({ relPath: "known.py", dags: [parsed("k")], importErrors: new Map([["known.py", "partly"]]) });
  await register({ relPath: "only-error.py", importErrors: new Map([["only-error.py", "wholly"]]) });
  const files = await loadCatalogFiles(test.db);
  expect(files.filter(({ relPath }) => ["known.py", "only-error.py"].includes(relPath))).toEqual(
    expect.arrayContaining([
      {
        relPath: "known.py",
        hasError: true,
        dags: [
          { dagId: "k", archiveDigest: "d1", environment: "default", bundleName: "dags-folder", bundleVersion: null },
        ],
      },
      { relPath: "only-error.py", hasError: true, dags: [] },
    ]),
  );
});

it("tells which bundle and commit a DAG is of; the same code at a later commit is the same version", async () => {
  const file = { relPath: "team/b.py", dags: [parsed("of_bundle")] };
  const bundleOf = async () => {
    const { bundle_name, bundle_version } = await dagRow("of_bundle");
    return [bundle_name, bundle_version];
  };
  const versions = async () =>
    (
      await test.db
        .selectFrom("dag_version")
        .select(["version_number", "bundle_name", "bundle_version"])
        .where("dag_id", "=", "of_bundle")
        .orderBy("version_number")
        .execute()
    ).map((row) => Object.values(row));
  await register({ ...file, bundle: { name: "team", version: "c1" } });
  expect(await bundleOf()).toEqual(["team", "c1"]);
  const moved = await register({ ...file, bundle: { name: "team", version: "c2" } });
  expect(moved.changed).toEqual(["of_bundle"]);
  expect(await bundleOf()).toEqual(["team", "c2"]);
  expect(await versions()).toEqual([[1, "team", "c2"]]);
  const changed = [parsed("of_bundle", { dagHash: "h2" })];
  await register({ ...file, dags: changed, bundle: { name: "team", version: "c3" } });
  expect(await versions()).toEqual([
    [1, "team", "c2"],
    [2, "team", "c3"],
  ]);
  expect((await register({ ...file, dags: changed, bundle: { name: "team", version: "c3" } })).changed).toEqual([]);
});

it("keeps one import error of a file whose bundle is another now", async () => {
  const file = { relPath: "moved/bad.py", importErrors: new Map([["moved/bad.py", "no"]]) };
  await register(file);
  await register({ ...file, bundle: { name: "moved", version: "c1" } });
  const rows = await test.db
    .selectFrom("import_error")
    .select(["bundle_name"])
    .where("filename", "=", "moved/bad.py")
    .execute();
  expect(rows).toEqual([{ bundle_name: "moved" }]);
});
