import { exactStringify, ExactObject, parseExact, type ExactJson } from "../../kit/exact-json.ts";
import type { JsonText } from "../../kit/json-text.ts";

/** Versions of the Task Execution API, newest first (`airflow/api_fastapi/execution_api/versions/__init__.py`, 3.3.2). */
export const VERSIONS = [
  "2026-06-30",
  "2026-04-06",
  "2025-11-05",
  "2025-10-27",
  "2025-09-23",
  "2025-08-10",
  "2025-05-20",
  "2025-04-28",
  "2025-04-11",
] as const;

export type Version = (typeof VERSIONS)[number];

/** The header's version: itself or the next older one. "none" where it is older than all, "invalid" where it is no date. */
export function negotiate(header: string | undefined): Version | "none" | "invalid" {
  if (header === undefined || header === "") return VERSIONS[0];
  if (!/^\d{4}-\d{2}-\d{2}$/.test(header) || Number.isNaN(Date.parse(header))) return "invalid";
  return VERSIONS.find((version) => version <= header) ?? "none";
}

/** Changes a whole answer for clients that are older than a version. */
type Downgrade = (body: ExactJson) => ExactJson;

/** `next_kwargs` as SDKs before 1.2 read them (BaseSerialization), made of what newer ones write. */
export type OlderKwargs = (nextKwargs: JsonText) => Promise<JsonText>;

/**
 * What a version brought, said as what clients older than it do not have (as Cadwyn's version changes, one file per version
 * there). What they may send is not here: Airflow's changes name fields of requests too, but 3.3.2 takes those in every version.
 */
interface VersionChange {
  version: Version;
  /** Operations they do not have, by name. */
  withoutOperations?: readonly string[];
  /** What their answers look like. */
  answers?: Readonly<Record<string, Downgrade>>;
  /** `next_kwargs` of a task that goes on are written as Airflow writes DAGs. */
  olderKwargs?: boolean;
}

const RUN = "PATCH /task-instances/{task_instance_id}/run";
const PREVIOUS = "GET /dag-runs/{dag_id}/previous";
const PREVIOUS_NOW = "GET /dag-runs/previous";
const DETAIL = "GET /dag-runs/{dag_id}/{run_id}";
const EVENTS = ["GET /asset-events/by-asset", "GET /asset-events/by-asset-alias"];

/** Operations that only older versions have, and from which version on they are gone. */
const GONE_SINCE: Readonly<Record<string, Version>> = { [PREVIOUS]: "2026-04-06" };

/** Newest first: an answer goes through all that are newer than its client. */
const CHANGES: readonly VersionChange[] = [
  {
    version: "2026-06-30",
    withoutOperations: [
      "GET /variables/keys",
      "GET /connection-tests/{connection_test_id}/connection",
      "PATCH /connection-tests/{connection_test_id}",
      "GET /assets/by-alias",
      "GET /store/ti/{task_instance_id}/{key}",
      "PUT /store/ti/{task_instance_id}/{key}",
      "DELETE /store/ti/{task_instance_id}/{key}",
      "DELETE /store/ti/{task_instance_id}",
      ...["name", "uri"].flatMap((by) => [
        ...["GET", "PUT", "DELETE"].map((method) => `${method} /store/asset/by-${by}/value`),
        `DELETE /store/asset/by-${by}/clear`,
      ]),
    ],
    answers: {
      ...ofDagRuns((run) => without(run, "team_name", "partition_date")),
      [RUN]: ofRunContext((run) =>
        change(without(run, "team_name", "partition_date"), "consumed_asset_events", eachOf(dropPartitionKey)),
      ),
    },
  },
  {
    version: "2026-04-06",
    withoutOperations: [PREVIOUS_NOW, DETAIL, "GET /dags/{dag_id}"],
    answers: {
      ...ofDagRuns(withStartDate),
      [RUN]: (context) => {
        const changed = ofRunContext(withStartDate)(context);
        return set(without(changed, "start_date"), "upstream_map_indexes", null);
      },
      ...Object.fromEntries(EVENTS.map((name) => [name, ofEvents])),
    },
    olderKwargs: true,
  },
  { version: "2025-11-05", answers: ofDagRuns((run) => without(run, "triggering_user_name")) },
  {
    version: "2025-10-27",
    answers: ofDagRuns((run) => change(run, "conf", (conf) => conf ?? new ExactObject(new Map()))),
  },
  // Of the workload, which no answer holds.
  { version: "2025-09-23" },
  {
    version: "2025-08-10",
    withoutOperations: [PREVIOUS],
    answers: ofDagRuns((run) => without(run, "state")),
  },
  // The type of `upstream_map_indexes`, which is null for all of them.
  { version: "2025-05-20" },
  {
    version: "2025-04-28",
  },
];

/** The changes that a client of this version has not heard of, newest first. */
function unknownTo(version: Version): VersionChange[] {
  return CHANGES.filter((change) => change.version > version);
}

export function hasOperation(version: Version, operation: string): boolean {
  const gone = GONE_SINCE[operation];
  if (gone !== undefined && version >= gone) return false;
  return !unknownTo(version).some(({ withoutOperations }) => withoutOperations?.includes(operation));
}

/** A newest answer as this version has it. */
export async function downgrade(
  version: Version,
  operation: string,
  text: JsonText,
  olderKwargs: OlderKwargs,
): Promise<JsonText> {
  const changes = unknownTo(version).filter(({ answers }) => answers?.[operation]);
  if (changes.length === 0) return text;
  let body = parseExact(text);
  for (const { answers, olderKwargs: isOlder } of changes) {
    body = answers?.[operation]?.(body) ?? body;
    const kwargs = isOlder && body instanceof ExactObject ? (body.entries.get("next_kwargs") ?? null) : null;
    if (kwargs === null) continue;
    body = set(body, "next_kwargs", parseExact(await olderKwargs(exactStringify(kwargs) as JsonText)));
  }
  return exactStringify(body) as JsonText;
}

/** In every answer that has a dag run. */
function ofDagRuns(change: Downgrade): Record<string, Downgrade> {
  return { [RUN]: ofRunContext(change), [DETAIL]: change, [PREVIOUS]: change, [PREVIOUS_NOW]: change };
}

function ofRunContext(run: Downgrade): Downgrade {
  return (context) => change(context, "dag_run", run);
}

function ofEvents(answer: ExactJson): ExactJson {
  const event: Downgrade = (event) => change(dropPartitionKey(event), "created_dagruns", eachOf(dropPartitionKey));
  return change(answer, "asset_events", eachOf(event));
}

/** A run that has not started began, for them, when it may start. */
function withStartDate(run: ExactJson): ExactJson {
  if (!(run instanceof ExactObject)) return run;
  const started = change(run, "start_date", (at) => at ?? run.entries.get("run_after") ?? null);
  return without(started, "partition_key", "note");
}

function dropPartitionKey(value: ExactJson): ExactJson {
  return without(value, "partition_key");
}

function eachOf(step: Downgrade): Downgrade {
  return (list) => (Array.isArray(list) ? list.map(step) : list);
}

function without(value: ExactJson, ...names: string[]): ExactJson {
  if (!(value instanceof ExactObject)) return value;
  return new ExactObject(new Map([...value.entries].filter(([name]) => !names.includes(name))));
}

function set(value: ExactJson, name: string, to: ExactJson): ExactJson {
  if (!(value instanceof ExactObject)) return value;
  return new ExactObject(new Map([...value.entries, [name, to]]));
}

function change(value: ExactJson, name: string, step: Downgrade): ExactJson {
  if (!(value instanceof ExactObject) || !value.entries.has(name)) return value;
  return set(value, name, step(value.entries.get(name) ?? null));
}
