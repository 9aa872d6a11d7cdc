import { sql, type Transaction } from "kysely";
import type { Instant } from "../kit/instant.ts";
import { toJsonText } from "../kit/json-text.ts";
import { newId } from "../kit/ids.ts";
import type { ParsedDag } from "../domain/parse-result.ts";
import { dropAssetReferences, syncAssets } from "./assets.ts";
import { poolsOf, replaceTags, replaceWarnings } from "./dag-catalog-details.ts";
import { isOfFile } from "./dags-of-file.ts";
import type { Database } from "./database.ts";
import { hasDeadlines, insertDeadlineAlerts } from "./deadlines.ts";
import type { DagTable, Schema } from "./schema.ts";
import { inTransaction } from "./transaction.ts";

/** What parsing one file found, ready to go live. */
export interface DagFileRegistration {
  /** The file below the workspace, and its absolute path. */
  relPath: string;
  fileloc: string;
  /** What it belongs to; `version` is a commit, or null. */
  bundle: { name: string; version: string | null; isTried?: boolean };
  archiveDigest: string;
  environment: string;
  dags: readonly ParsedDag[];
  /** Airflow's DagWarningTypes only; those of pools are made here. */
  warnings: readonly { dagId: string; warningType: string; message: string }[];
  /**
   * What could not be imported, with why: the file, or modules of an archive (`packed.zip/broken.py`). Empty: what the file no
   * longer defines is gone. Otherwise the last good version stays live.
   */
  importErrors: ReadonlyMap<string, string>;
  parsedAt: Instant;
  durationSeconds: number;
  pausedAtCreation: boolean;
  /** Is this file still in the workspace? Says who owns a dag_id that two files define. */
  isPresent(relPath: string): boolean;
}

export interface DagFileOutcome {
  /** DAGs that others must look at again: new, changed, revived, gone, or with another error state. */
  changed: string[];
  /** DAGs that stay with the file that defined them first. */
  conflicts: { dagId: string; owner: string }[];
  /** DAGs this file defined before and no longer does. */
  released: string[];
}

// Registrations wait for each other: two files that bring the same new dag_id must see which came first.
const CATALOG_LOCK = 0x1e0f11;

/** Registers one parsed file in one transaction. A DAG gets a new version only when its hash or its files changed. */
export async function registerDagFile(db: Database, file: DagFileRegistration): Promise<DagFileOutcome> {
  return inTransaction(db, async (trx) => {
    await sql`select pg_advisory_xact_lock(${CATALOG_LOCK})`.execute(trx);
    const known = await knownDags(trx, file);
    const conflicts = [];
    const accepted = [];
    for (const dag of new Map(file.dags.map((dag) => [dag.dagId, dag])).values()) {
      const row = known.get(dag.dagId);
      const owner = row?.dag_rel_path ?? row?.relative_fileloc;
      if (row && owner !== undefined && !row.is_stale && owner !== file.relPath && file.isPresent(owner)) {
        conflicts.push({ dag, owner, ownerFileloc: row.fileloc });
      } else accepted.push(dag);
    }
    const errors = new Map([...file.importErrors].map(([name, text]) => [name, withoutNul(text)]));
    for (const { dag, ownerFileloc } of conflicts) {
      const place = placeOf(file, dag);
      const message = duplicateDagMessage(dag.dagId, place.fileloc, ownerFileloc);
      errors.set(place.relPath, [errors.get(place.relPath) ?? [], message].flat().join("\n\n"));
    }
    const isBroken = (dag: ParsedDag) => errors.has(file.relPath) || errors.has(placeOf(file, dag).relPath);

    const changed = new Set<string>();
    if (accepted.length > 0) {
      const versions = newVersions(file, accepted, known);
      for (const some of chunks(accepted)) await upsertDags(trx, file, some, versions, known, isBroken);
      await moveVersions(trx, file, accepted, versions, known);
      for (const some of chunks([...versions.values()])) await trx.insertInto("dag_version").values(some).execute();
      await insertDeadlineAlerts(
        trx,
        [...versions.values()].flatMap((one) => (hasDeadlines(one.serialized) ? one.id : [])),
      );
      await replaceTags(trx, accepted);
      await replaceWarnings(trx, accepted.map(poolsOf), file.warnings, file.parsedAt);
      await syncAssets(trx, accepted, file.parsedAt);
      for (const dag of accepted) {
        const { dagId } = dag;
        const before = known.get(dagId);
        const { relPath } = placeOf(file, dag);
        if (versions.has(dagId) || before?.is_stale !== false || before.relative_fileloc !== relPath)
          changed.add(dagId);
        if (before && before.has_import_errors !== isBroken(dag)) changed.add(dagId);
        const { name, version } = file.bundle;
        if (before && (before.bundle_name !== name || before.bundle_version !== version)) changed.add(dagId);
      }
    }
    const released = errors.size === 0 ? await dropMissing(trx, file, accepted) : [];
    await dropAssetReferences(trx, released, file.parsedAt);
    for (const dagId of released) changed.add(dagId);
    for (const dagId of await recordImportErrors(trx, file, errors)) changed.add(dagId);
    return {
      changed: [...changed],
      conflicts: conflicts.map(({ dag, owner }) => ({ dagId: dag.dagId, owner })),
      released,
    };
  });
}

/** A statement takes 65,535 values at most; a file may generate thousands of DAGs. */
function chunks<T>(items: readonly T[], size = 1000): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  );
}

/** Airflow's words (AirflowDagDuplicatedIdException). */
function duplicateDagMessage(dagId: string, incoming: string, existing: string): string {
  return `AirflowDagDuplicatedIdException: Ignoring DAG ${dagId} from ${incoming} - also found in ${existing}`;
}

/** PostgreSQL's text holds no NUL; tracebacks of broken source may. */
function withoutNul(text: string): string {
  return text.replaceAll("\0", "");
}

/** Where a DAG is defined: the file, or a module of the archive that the file is. */
function placeOf(file: DagFileRegistration, dag: ParsedDag): { relPath: string; fileloc: string } {
  const inner = dag.fileloc.startsWith(`${file.fileloc}/`) ? dag.fileloc.slice(file.fileloc.length) : "";
  return { relPath: file.relPath + inner, fileloc: dag.fileloc };
}

interface KnownDag {
  relative_fileloc: string;
  /** The file it was parsed in; null without a version. */
  dag_rel_path: string | null;
  fileloc: string;
  bundle_name: string;
  bundle_version: string | null;
  is_stale: boolean;
  has_import_errors: boolean;
  current_version_id: string | null;
  dag_hash: string | null;
  archive_digest: string | null;
  environment: string | null;
  newest: number;
}

async function knownDags(trx: Transaction<Schema>, file: DagFileRegistration): Promise<Map<string, KnownDag>> {
  const { rows } = await sql<KnownDag & { dag_id: string }>`
    select dag.dag_id, dag.relative_fileloc, dag.fileloc, dag.bundle_name, dag.bundle_version, dag.is_stale,
      dag.has_import_errors, dag.current_version_id,
      current_version.dag_rel_path, current_version.dag_hash, current_version.archive_digest, current_version.environment,
      coalesce((select max(version_number) from dag_version where dag_version.dag_id = dag.dag_id), 0) as newest
    from dag
    left join dag_version as current_version on current_version.id = dag.current_version_id
    where dag.dag_id = any(${file.dags.map(({ dagId }) => dagId)}) or ${isOfFile("dag.relative_fileloc", file.relPath)}
    order by dag.dag_id
    for no key update of dag`.execute(trx);
  return new Map(rows.map((row) => [row.dag_id, row]));
}

type NewVersions = ReturnType<typeof newVersions>;

function newVersions(file: DagFileRegistration, dags: readonly ParsedDag[], known: ReadonlyMap<string, KnownDag>) {
  return new Map(
    dags
      .filter(({ dagId, dagHash }) => {
        const current = known.get(dagId);
        return (
          current?.dag_hash !== dagHash ||
          current.archive_digest !== file.archiveDigest ||
          current.environment !== file.environment
        );
      })
      .map((dag) => [
        dag.dagId,
        {
          id: newId(),
          dag_id: dag.dagId,
          version_number: (known.get(dag.dagId)?.newest ?? 0) + 1,
          dag_hash: dag.dagHash,
          archive_digest: file.archiveDigest,
          dag_rel_path: file.relPath,
          bundle_name: file.bundle.name,
          bundle_version: file.bundle.version,
          environment: file.environment,
          serialized: dag.serialized,
          source_code: dag.sourceCode.replaceAll("\0", ""),
          created_at: file.parsedAt,
          last_updated: file.parsedAt,
        },
      ]),
  );
}

/** What every parse sets anew; `is_paused` and the next-run columns are not the file's to change. */
const PARSED_COLUMNS = [
  "dag_display_name",
  "is_stale",
  "fileloc",
  "relative_fileloc",
  "bundle_name",
  "bundle_version",
  "owners",
  "description",
  "timetable_type",
  "timetable_summary",
  "timetable_description",
  "timetable_partitioned",
  "timetable_periodic",
  "asset_expression",
  "max_active_tasks",
  "max_active_runs",
  "max_consecutive_failed_dag_runs",
  "has_task_concurrency_limits",
  "has_import_errors",
  "fail_fast",
  "allowed_run_types",
  "current_version_id",
  "last_parsed_time",
  "last_parse_duration",
] as const satisfies readonly (keyof DagTable)[];

async function upsertDags(
  trx: Transaction<Schema>,
  file: DagFileRegistration,
  dags: readonly ParsedDag[],
  versions: NewVersions,
  known: ReadonlyMap<string, KnownDag>,
  isBroken: (dag: ParsedDag) => boolean,
): Promise<void> {
  const { isTried = false } = file.bundle;
  const updated = isTried ? ([...PARSED_COLUMNS, "is_paused"] as const) : PARSED_COLUMNS;
  await trx
    .insertInto("dag")
    .values(
      dags.map((dag) => ({
        dag_id: dag.dagId,
        dag_display_name: dag.displayName,
        // Only a new DAG takes it: see the conflict clause.
        is_paused: isTried || (dag.isPausedUponCreation ?? file.pausedAtCreation),
        is_stale: false,
        fileloc: dag.fileloc,
        relative_fileloc: placeOf(file, dag).relPath,
        bundle_name: file.bundle.name,
        bundle_version: file.bundle.version,
        owners: dag.owners,
        description: dag.description,
        timetable_type: dag.timetableType,
        timetable_summary: dag.timetableSummary,
        timetable_description: dag.timetableDescription,
        timetable_partitioned: dag.timetablePartitioned,
        timetable_periodic: dag.timetablePeriodic,
        asset_expression: dag.assetExpression,
        max_active_tasks: dag.maxActiveTasks,
        max_active_runs: dag.maxActiveRuns,
        max_consecutive_failed_dag_runs: dag.maxConsecutiveFailedDagRuns,
        has_task_concurrency_limits: dag.hasTaskConcurrencyLimits,
        has_import_errors: isBroken(dag),
        fail_fast: dag.failFast,
        allowed_run_types: dag.allowedRunTypes === null ? null : toJsonText([...dag.allowedRunTypes].sort()),
        current_version_id: versions.get(dag.dagId)?.id ?? known.get(dag.dagId)?.current_version_id ?? null,
        last_parsed_time: file.parsedAt,
        last_parse_duration: file.durationSeconds,
      })),
    )
    .onConflict((conflict) =>
      conflict
        .column("dag_id")
        .doUpdateSet((set) => Object.fromEntries(updated.map((column) => [column, set.ref(`excluded.${column}`)]))),
    )
    .execute();
}

/** The same code at a later commit is the same version, which tells the later commit from now on, as in Airflow. */
async function moveVersions(
  trx: Transaction<Schema>,
  { bundle }: DagFileRegistration,
  dags: readonly ParsedDag[],
  versions: NewVersions,
  known: ReadonlyMap<string, KnownDag>,
): Promise<void> {
  const same = dags.flatMap(({ dagId }) => (versions.has(dagId) ? [] : (known.get(dagId)?.current_version_id ?? [])));
  if (same.length === 0) return;
  await sql`
    update dag_version set bundle_name = ${bundle.name}, bundle_version = ${bundle.version}
    where id = any(${same}::uuid[])
      and (bundle_name, bundle_version) is distinct from (${bundle.name}::text, ${bundle.version}::text)`.execute(trx);
}

/** DAGs the file defined before and no longer does. */
async function dropMissing(
  trx: Transaction<Schema>,
  file: DagFileRegistration,
  accepted: readonly ParsedDag[],
): Promise<string[]> {
  const { rows } = await sql<{ dag_id: string }>`
    update dag set is_stale = true, has_import_errors = false
    where ${isOfFile("relative_fileloc", file.relPath)} and not is_stale and dag_id <> all(${accepted.map(({ dagId }) => dagId)})
    returning dag_id`.execute(trx);
  return rows.map((row) => row.dag_id);
}

/** Makes these the file's errors, and marks the DAGs concerned; returns those whose mark changed. */
async function recordImportErrors(
  trx: Transaction<Schema>,
  file: DagFileRegistration,
  errors: ReadonlyMap<string, string>,
): Promise<string[]> {
  const names = [...errors.keys()];
  await sql`
    delete from import_error where (filename = ${file.relPath} or ${isOfFile("filename", file.relPath)})
      and (bundle_name <> ${file.bundle.name} or filename <> all(${names}))`.execute(trx);
  if (names.length === 0) return [];
  await sql`
    insert into import_error (timestamp, bundle_name, filename, stacktrace)
    select ${file.parsedAt}::timestamptz, ${file.bundle.name}, *
    from unnest(${names}::text[], ${[...errors.values()]}::text[])
    on conflict (bundle_name, filename)
    do update set timestamp = excluded.timestamp, stacktrace = excluded.stacktrace`.execute(trx);
  const isConcerned = errors.has(file.relPath) ? sql`true` : sql`(relative_fileloc = any(${names}))`;
  const { rows } = await sql<{ dag_id: string }>`
    update dag set has_import_errors = not has_import_errors
    where ${isOfFile("relative_fileloc", file.relPath)} and not is_stale and has_import_errors <> ${isConcerned}
    returning dag_id`.execute(trx);
  return rows.map((row) => row.dag_id);
}
