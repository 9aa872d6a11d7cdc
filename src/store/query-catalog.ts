import { sql, type ExpressionBuilder, type Selectable } from "kysely";
import type { Instant } from "../kit/instant.ts";
import { isWithinTeams, type TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import {
  allOf,
  column,
  equals,
  inOpenRange,
  isOneOf,
  matches,
  paginated,
  type Order,
  type Page,
  type Patterns,
  type Range,
  type Sortable,
} from "./filters.ts";
import type { DagWarningTable, ImportErrorTable, JobTable, LogTable, Schema } from "./schema.ts";
import { bundlesWithin, dagsWithin, dagsWithinOrNone } from "./team-scope.ts";

/** The small collections: import errors, warnings, jobs, audit log. */

interface Sorting {
  orders: readonly Order[];
  page: Page;
}

const displayName = sql<string | null>`coalesce(dag.dag_display_name, dag.dag_id)`;

export type ImportErrorRow = Selectable<ImportErrorTable>;

export const IMPORT_ERROR_ORDER = {
  id: column("import_error.id"),
  timestamp: column("import_error.timestamp"),
  filename: column("import_error.filename"),
  bundle_name: column("import_error.bundle_name"),
  stacktrace: column("import_error.stacktrace"),
} satisfies Sortable;

export async function listImportErrors(
  db: Database,
  filter: {
    filenamePattern?: Patterns;
    filename?: string | undefined;
    bundleName?: string | undefined;
    teams?: TeamScope;
  },
  sorting: Sorting,
): Promise<{ rows: ImportErrorRow[]; total: number }> {
  const query = db
    .selectFrom("import_error")
    .selectAll()
    .where(
      allOf([
        ...matches(column("import_error.filename"), filter.filenamePattern),
        ...equals(column("import_error.filename"), filter.filename),
        ...equals(column("import_error.bundle_name"), filter.bundleName),
        ...bundlesWithin(column("import_error.bundle_name"), filter.teams),
      ]),
    );
  return await paginated(query, { ...sorting, sortable: IMPORT_ERROR_ORDER });
}

export async function findImportError(db: Database, id: number): Promise<ImportErrorRow | undefined> {
  return await db.selectFrom("import_error").selectAll().where("id", "=", id).executeTakeFirst();
}

/** Whether an import error's bundle belongs to nobody, or to one of these teams. */
export async function isOfTeams(db: Database, error: ImportErrorRow, teams: TeamScope): Promise<boolean> {
  if (teams === null) return true;
  const owner = db.selectFrom("dag_bundle_team").select("team_name").where("dag_bundle_name", "=", error.bundle_name);
  return isWithinTeams((await owner.executeTakeFirst())?.team_name, teams);
}

/** Whether a DAG or an import error comes from this file of the workspace. */
export async function isKnownDagFile(db: Database, relativeFileloc: string): Promise<boolean> {
  const { rows } = await sql<{ known: boolean }>`
    select exists (select from dag where relative_fileloc = ${relativeFileloc})
      or exists (select from import_error where filename = ${relativeFileloc}) as known`.execute(db);
  return rows[0]?.known ?? false;
}

export type DagWarningRow = Selectable<DagWarningTable> & { dag_display_name: string | null };

export const DAG_WARNING_ORDER = {
  dag_id: column("w.dag_id"),
  warning_type: column("w.warning_type"),
  message: column("w.message"),
  timestamp: column("w.timestamp"),
} satisfies Sortable;

/** Those of the DAG files, and of timetables that named no run: Airflow's API has no type of its own for these. */
function warnings(eb: ExpressionBuilder<Schema, never>) {
  return eb
    .selectFrom("dag_warning")
    .select(["dag_id", "warning_type", "message", "timestamp"])
    .unionAll(
      eb
        .selectFrom("dag")
        .select([
          "dag_id",
          sql<string>`'runtime varying value'`.as("warning_type"),
          sql<string>`'The timetable named no next run: ' || timetable_error`.as("message"),
          sql<Instant>`coalesce(last_parsed_time, now())`.as("timestamp"),
        ])
        .where("timetable_error", "is not", null),
    );
}

export async function listDagWarnings(
  db: Database,
  filter: { dagId?: string | undefined; warningType?: string | undefined; teams?: TeamScope },
  sorting: Sorting,
): Promise<{ rows: DagWarningRow[]; total: number }> {
  const query = db
    .selectFrom((eb) => warnings(eb).as("w"))
    .innerJoin("dag", "dag.dag_id", "w.dag_id")
    .selectAll("w")
    .select(displayName.as("dag_display_name"))
    .where(
      allOf([
        ...equals(column("w.dag_id"), filter.dagId),
        ...equals(column("w.warning_type"), filter.warningType),
        ...dagsWithin(column("w.dag_id"), filter.teams),
      ]),
    );
  return await paginated(query, { ...sorting, sortable: DAG_WARNING_ORDER });
}

export type JobRow = Selectable<JobTable> & { dag_display_name: string | null };

export const JOB_ORDER = {
  id: column("job.id"),
  dag_id: column("job.dag_id"),
  state: column("job.state"),
  job_type: column("job.job_type"),
  start_date: column("job.start_date"),
  end_date: column("job.end_date"),
  latest_heartbeat: column("job.latest_heartbeat"),
  executor_class: column("job.executor_class"),
  hostname: column("job.hostname"),
  unixname: column("job.unixname"),
} satisfies Sortable;

/** Airflow's health_check_threshold: a job silent for longer is not alive. */
const ALIVE_SECONDS = 30;

export interface JobFilter {
  state?: string | undefined;
  jobType?: string | undefined;
  hostname?: string | undefined;
  executorClass?: string | undefined;
  startDate?: Range<Instant>;
  endDate?: Range<Instant>;
  alive?: boolean | undefined;
}

export async function listJobs(
  db: Database,
  filter: JobFilter,
  sorting: Sorting,
): Promise<{ rows: JobRow[]; total: number }> {
  const alive = sql<boolean>`job.state = 'running' and job.latest_heartbeat > now() - make_interval(secs => ${ALIVE_SECONDS})`;
  const query = db
    .selectFrom("job")
    .leftJoin("dag", "dag.dag_id", "job.dag_id")
    .selectAll("job")
    .select(displayName.as("dag_display_name"))
    .where(
      allOf([
        ...equals(column("job.state"), filter.state),
        ...equals(column("job.job_type"), filter.jobType),
        ...equals(column("job.hostname"), filter.hostname),
        ...equals(column("job.executor_class"), filter.executorClass),
        ...inOpenRange(column("job.start_date"), filter.startDate),
        ...inOpenRange(column("job.end_date"), filter.endDate),
        // Airflow keeps only the living, whichever way the flag is given.
        ...(filter.alive === undefined ? [] : [alive]),
      ]),
    );
  return await paginated(query, { ...sorting, sortable: JOB_ORDER });
}

/** The latest job of each type: what the health page is about. */
export async function latestJobs(
  db: Database,
): Promise<{ job_type: string; latest_heartbeat: Instant; alive: boolean }[]> {
  const { rows } = await sql<{ job_type: string; latest_heartbeat: Instant; alive: boolean }>`
    select distinct on (job_type) job_type, latest_heartbeat,
      state = 'running' and latest_heartbeat > now() - make_interval(secs => ${ALIVE_SECONDS}) as alive
    from job
    order by job_type, (state = 'running') desc, latest_heartbeat desc`.execute(db);
  return rows;
}

export type EventLogRow = Selectable<LogTable> & { dag_display_name: string | null; task_display_name: string | null };

export interface EventLogFilter {
  dagId?: string | undefined;
  taskId?: string | undefined;
  runId?: string | undefined;
  mapIndex?: number | undefined;
  tryNumber?: number | undefined;
  owner?: string | undefined;
  event?: string | undefined;
  excludedEvents?: readonly string[] | undefined;
  includedEvents?: readonly string[] | undefined;
  before?: Instant | undefined;
  after?: Instant | undefined;
  dagIdPattern?: Patterns;
  taskIdPattern?: Patterns;
  runIdPattern?: Patterns;
  ownerPattern?: Patterns;
  eventPattern?: Patterns;
  teams?: TeamScope;
}

export const EVENT_LOG_ORDER = {
  id: column("log.id"),
  dttm: column("log.dttm"),
  dag_id: column("log.dag_id"),
  task_id: column("log.task_id"),
  run_id: column("log.run_id"),
  event: column("log.event"),
  logical_date: column("log.logical_date"),
  owner: column("log.owner"),
  extra: column("log.extra"),
} satisfies Sortable;

function eventLogs(db: Database) {
  const taskDisplayName = sql<string | null>`(
    select coalesce(ti.task_display_name, ti.task_id) from task_instance ti join dag_run dr on dr.id = ti.dag_run_id
    where dr.dag_id = log.dag_id and dr.run_id = log.run_id and ti.task_id = log.task_id
      and ti.map_index = coalesce(log.map_index, -1))`;
  return db
    .selectFrom("log")
    .leftJoin("dag", "dag.dag_id", "log.dag_id")
    .selectAll("log")
    .select(displayName.as("dag_display_name"))
    .select(taskDisplayName.as("task_display_name"));
}

export async function listEventLogs(
  db: Database,
  filter: EventLogFilter,
  sorting: Sorting,
): Promise<{ rows: EventLogRow[]; total: number }> {
  const { excludedEvents = [] } = filter;
  const query = eventLogs(db).where(
    allOf([
      ...equals(column("log.dag_id"), filter.dagId),
      ...equals(column("log.task_id"), filter.taskId),
      ...equals(column("log.run_id"), filter.runId),
      ...equals(column("log.map_index"), filter.mapIndex),
      ...equals(column("log.try_number"), filter.tryNumber),
      ...equals(column("log.owner"), filter.owner),
      ...equals(column("log.event"), filter.event),
      ...isOneOf(column("log.event"), filter.includedEvents),
      ...(excludedEvents.length > 0 ? [sql<boolean>`log.event not in (${sql.join(excludedEvents)})`] : []),
      ...(filter.before ? [sql<boolean>`log.dttm < ${filter.before}`] : []),
      ...(filter.after ? [sql<boolean>`log.dttm > ${filter.after}`] : []),
      ...matches(column("log.dag_id"), filter.dagIdPattern),
      ...matches(column("log.task_id"), filter.taskIdPattern),
      ...matches(column("log.run_id"), filter.runIdPattern),
      ...matches(column("log.owner"), filter.ownerPattern),
      ...matches(column("log.event"), filter.eventPattern),
      ...dagsWithinOrNone(column("log.dag_id"), filter.teams),
    ]),
  );
  return await paginated(query, { ...sorting, sortable: EVENT_LOG_ORDER });
}

export async function findEventLog(db: Database, id: number): Promise<EventLogRow | undefined> {
  return await eventLogs(db).where("log.id", "=", id).executeTakeFirst();
}

/** The DAG that an event is about. */
export async function findEventLogDag(db: Database, id: number): Promise<string | null> {
  return (await db.selectFrom("log").select("dag_id").where("id", "=", id).executeTakeFirst())?.dag_id ?? null;
}
