import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { publicRoutes } from "../../src/api/public/index.ts";
import { parseInstant, type Instant } from "../../src/kit/instant.ts";
import { toJsonText } from "../../src/kit/json-text.ts";
import type { Database } from "../../src/store/database.ts";
import { createTestApi, type TestApi } from "../support/api.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { makeDag, makeVersion } from "../support/factories.ts";

/**
 * What a real Airflow 3.3.2 answered to a series of requests (fixtures/generate.py), asked again of our API: the answers must
 * be the same but for what is bound to the moment, the machine or the installation.
 */
interface Recording {
  dags: Record<string, Record<string, unknown>>;
  serialized: Record<string, { dag: { tags?: string[] } }>;
  answers: { request: string; status: number; body: string }[];
}

const recording = JSON.parse(readFileSync(join(import.meta.dirname, "fixtures/answers.json"), "utf8")) as Recording;

let database: TestDatabase;
let api: TestApi;

beforeAll(async () => {
  database = await createTestDatabase();
  for (const dagId of Object.keys(recording.dags)) await load(database.db, dagId);
  api = await createTestApi(database.db, [(app, context) => publicRoutes(app, context)], {
    prefix: "",
    python: () => Promise.resolve({ expose_config: "False", sections: [] }),
  });
  api.user = { name: "Anonymous", role: "ADMIN" };
});
afterAll(async () => {
  await api.close();
  await database.close();
});

async function load(db: Database, dagId: string): Promise<void> {
  const row = recording.dags[dagId] as Record<string, never>;
  const instant = (name: string): Instant | null => (row[name] ? parseInstant(row[name]) : null);
  await makeDag(db, {
    dag_id: dagId,
    dag_display_name: row.dag_display_name,
    is_paused: row.is_paused,
    fileloc: row.fileloc,
    relative_fileloc: row.relative_fileloc,
    owners: row.owners,
    description: row.description,
    timetable_type: row.timetable_type,
    timetable_summary: row.timetable_summary,
    timetable_description: row.timetable_description,
    timetable_periodic: row.timetable_periodic,
    asset_expression: row.asset_expression ? toJsonText(row.asset_expression) : null,
    max_active_tasks: row.max_active_tasks,
    max_active_runs: row.max_active_runs,
    next_dagrun: instant("next_dagrun"),
    next_dagrun_data_interval_start: instant("next_dagrun_data_interval_start"),
    next_dagrun_data_interval_end: instant("next_dagrun_data_interval_end"),
    next_dagrun_create_after: instant("next_dagrun_create_after"),
    last_parsed_time: instant("last_parsed_time"),
  });
  const serialized = recording.serialized[dagId];
  await makeVersion(db, { dag_id: dagId, serialized: toJsonText(serialized) });
  for (const name of serialized?.dag.tags ?? [])
    await db.insertInto("dag_tag").values({ dag_id: dagId, name }).execute();
}

/** Fields whose values belong to one installation or moment; that they are there, and null or not, still has to agree. */
const OWN_VALUES = new Set([
  "id",
  "file_token",
  "last_parsed",
  "last_parsed_time",
  "created_at",
  "queued_at",
  "end_date",
  "duration",
  "next_cursor",
]);
/** The start of what was never started in one of them. */
const RUN_STARTS = "start_date";

function comparable(value: unknown, inRun = false): unknown {
  if (Array.isArray(value)) return value.map((item) => comparable(item, inRun));
  if (typeof value !== "object" || value === null) return value;
  const isRun = inRun || "dag_run_id" in value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => {
      if (OWN_VALUES.has(name) || (isRun && name === RUN_STARTS)) return [name, item === null ? null : "set"];
      // Airflow says to look into its log; we say what happened.
      if (name === "detail" && typeof item === "object" && item !== null && "reason" in item) {
        return [name, { ...item, message: "" }];
      }
      return [name, comparable(item, isRun)];
    }),
  );
}

function read(body: string): unknown {
  if (body === "") return null;
  try {
    return comparable(JSON.parse(body));
  } catch {
    return body;
  }
}

it.each(recording.answers)("$request", async ({ request, status, body }) => {
  const [method = "", url = "", ...rest] = request.split(" ");
  const sent = rest.join(" ");
  const response = await api.app.inject({
    method: method as "GET",
    url,
    ...(sent === "" ? {} : { payload: sent, headers: { "content-type": "application/json" } }),
  });
  expect([response.statusCode, read(response.payload)]).toEqual([status, read(body)]);
});
