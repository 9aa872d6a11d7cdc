import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { pino } from "pino";
import { connectionEnvironment } from "../src/backup/pg-dump.ts";
import { childEnvironment } from "../src/kit/config.ts";
import { startingPostgres, withHomeToItself, type Datastore } from "../src/lite/datastore.ts";
import type { LeoflowPaths } from "../src/lite/paths.ts";
import { silentProgress } from "../src/lite/progress.ts";
import { upgradeSchema } from "../src/lite/upgrade/apply.ts";
import { createHome, prepareSharedHome } from "../test/support/home.ts";

export const logger = pino({ level: "silent" });

/** Twenty DAGs of ten tasks with so many runs each, an XCom for every second task, and some of the audit log. */
const fill = (runs: number): string[] => [
  `insert into dag (dag_id, fileloc, relative_fileloc, max_active_tasks)
   select 'dag_' || i, '/home/me/leoflow/dag_' || i || '.py', 'dag_' || i || '.py', 16 from generate_series(1, 20) as i`,
  `insert into dag_version (id, dag_id, version_number, dag_hash, archive_digest, dag_rel_path, serialized, source_code)
   select gen_random_uuid(), dag_id, 1, md5(dag_id), repeat(md5(dag_id), 2), relative_fileloc, '{}', 'x' from dag`,
  `insert into dag_run (dag_id, run_id, run_type, state, logical_date, data_interval_start, data_interval_end, run_after, queued_at,
     start_date, end_date, conf, dag_version_id)
   select v.dag_id, 'scheduled__' || to_char(t, 'YYYY-MM-DD"T"HH24:MI:SS+00:00'), 'scheduled', 'success', t, t, t + interval '1 hour',
     t + interval '1 hour', t + interval '1 hour', t + interval '1 hour', t + interval '61 min', '{}', v.id
   from dag_version as v,
     generate_series(timestamptz '2020-01-01', timestamptz '2020-01-01' + interval '${runs - 1} hours', interval '1 hour') as t`,
  `insert into task_instance (id, dag_run_id, dag_id, task_id, state, try_number, max_tries, task_display_name, operator, queue,
     executor_config, dag_version_id, scheduled_dttm, queued_dttm, start_date, end_date, duration, last_heartbeat_at, hostname, unixname,
     pid, worker_id)
   select gen_random_uuid(), r.id, r.dag_id, 'task_number_' || i, 'success', 1, 1, 'task_number_' || i, 'PythonOperator', 'default', '{}',
     r.dag_version_id, r.start_date, r.start_date, r.start_date + i * interval '1 s', r.start_date + i * interval '3 s', 2.01,
     r.start_date, 'machine.example.com', 'ana', 4000 + i, 'worker-1'
   from dag_run as r, generate_series(1, 10) as i`,
  `insert into xcom (dag_run_id, task_id, key, dag_id, run_id, value)
   select t.dag_run_id, t.task_id, 'return_value', t.dag_id, r.run_id,
     json_build_object('rows', (random() * 1e6)::integer, 'path', 's3://bucket/' || t.id)
   from task_instance as t join dag_run as r on r.id = t.dag_run_id where t.task_id ~ '[13579]$'`,
  `insert into log (dag_id, task_id, event, run_id, owner) select dag_id, task_id, 'success', 'x', 'ana' from task_instance limit 300000`,
];

/** A temporary home whose database has this many task instances. `remove` deletes it. */
export async function createFilledHome(taskInstances: number): Promise<{ paths: LeoflowPaths; remove: () => void }> {
  await prepareSharedHome();
  const { paths, remove } = createHome();
  try {
    await onDatastore(paths, async ({ database, bin }) => {
      await upgradeSchema({ paths, database, bin, logger, progress: silentProgress });
      const client = new pg.Client(database);
      await client.connect();
      for (const statement of fill(taskInstances / 200)) await client.query(statement);
      await client.query("vacuum analyze");
      await client.query("checkpoint");
      await client.end();
    });
    return { paths, remove };
  } catch (error) {
    remove();
    throw error;
  }
}

/** Works on a stopped home's database. */
export function onDatastore<T>(paths: LeoflowPaths, work: (datastore: Datastore) => Promise<T>): Promise<T> {
  return withHomeToItself(paths, () =>
    startingPostgres({ paths, logger, progress: silentProgress, runtimeDir: undefined }, work),
  );
}

/** The floor of a backup. Seconds and bytes. */
export function bareDump({ database, bin }: Datastore, file: string): { seconds: number; bytes: number } {
  const seconds = shell(`"${join(bin, "pg_dump")}" --clean --if-exists | gzip > "${file}"`, database);
  return { seconds, bytes: statSync(file).size };
}

/** Runs a line of shell that finds the database in its environment. Seconds. */
export function shell(line: string, database: Datastore["database"]): number {
  const began = performance.now();
  const { status } = spawnSync("sh", ["-c", line], {
    env: childEnvironment(connectionEnvironment(database)),
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (status !== 0) throw new Error(`${line} ended with ${status}`);
  return secondsSince(began);
}

export const secondsSince = (began: number): number => (performance.now() - began) / 1000;
export const shown = (seconds: number): string => `${seconds.toFixed(1)} s`;

/** The first row is the head. */
export function printTable([head = [], ...rows]: string[][]): void {
  for (const row of [head, head.map(() => "---"), ...rows]) console.log(`| ${row.join(" | ")} |`);
}
