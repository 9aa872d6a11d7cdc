import { spawnSync } from "node:child_process";
import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { pino } from "pino";
import { formatBytes } from "../src/kit/bytes.ts";
import { startingPostgres, withHomeToItself } from "../src/lite/datastore.ts";
import { silentProgress, type Progress } from "../src/lite/progress.ts";
import { upgradeSchema } from "../src/lite/upgrade/apply.ts";
import { preflight, type Preflight } from "../src/lite/upgrade/preflight.ts";
import { connectionEnvironment } from "../src/backup/pg-dump.ts";
import { childEnvironment } from "../src/kit/config.ts";
import { loadMigrations } from "../src/store/migrations.ts";
import { schemaStatus } from "../src/store/schema-status.ts";
import { createHome, prepareSharedHome } from "../test/support/home.ts";

/** 100,000 runs of 20 DAGs with ten tasks each, an XCom for every second task, and some of the audit log. */
const FILL = [
  `insert into dag (dag_id, fileloc, relative_fileloc, max_active_tasks)
   select 'dag_' || i, '/home/me/leoflow/dag_' || i || '.py', 'dag_' || i || '.py', 16 from generate_series(1, 20) as i`,
  `insert into dag_version (id, dag_id, version_number, dag_hash, archive_digest, dag_rel_path, serialized, source_code)
   select gen_random_uuid(), dag_id, 1, md5(dag_id), repeat(md5(dag_id), 2), relative_fileloc, '{}', 'x' from dag`,
  `insert into dag_run (dag_id, run_id, run_type, state, logical_date, data_interval_start, data_interval_end, run_after, queued_at,
     start_date, end_date, conf, dag_version_id)
   select v.dag_id, 'scheduled__' || to_char(t, 'YYYY-MM-DD"T"HH24:MI:SS+00:00'), 'scheduled', 'success', t, t, t + interval '1 hour',
     t + interval '1 hour', t + interval '1 hour', t + interval '1 hour', t + interval '61 min', '{}', v.id
   from dag_version as v, generate_series(timestamptz '2020-01-01', timestamptz '2020-01-01' + interval '4999 hours', interval '1 hour') as t`,
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

const CASES: { name: string; sql: string }[] = [
  {
    name: "a column and an index",
    sql: "alter table task_instance add column queue_note text; create index bench_end on task_instance (dag_id, end_date desc)",
  },
  { name: "a column that is filled for every row", sql: "update task_instance set queue_note = operator" },
];

await prepareSharedHome();
const { paths, remove } = createHome();
const logger = pino({ level: "silent" });
const rows: string[][] = [];
const seconds = (since: number) => (performance.now() - since) / 1000;
const shown = (value: number) => `${value.toFixed(1)} s`;

try {
  await withHomeToItself(paths, () =>
    startingPostgres({ paths, logger, progress: silentProgress, runtimeDir: undefined }, async ({ database, bin }) => {
      const options = { paths, database, bin, logger };
      await upgradeSchema({ ...options, progress: silentProgress });
      const pool = new pg.Pool({ ...database, max: 1 });
      for (const statement of FILL) await pool.query(statement);
      await pool.query("vacuum analyze");
      await pool.query("checkpoint");

      const dumpFile = join(paths.home, "floor.sql.gz");
      const dumping = performance.now();
      spawnSync("sh", ["-c", `"${bin}/pg_dump" | gzip > "${dumpFile}"`], {
        env: childEnvironment(connectionEnvironment(database)),
      });
      const dumpFloor = seconds(dumping);
      rows.push(["floor: pg_dump \\| gzip", shown(dumpFloor), "", formatBytes(statSync(dumpFile).size)]);
      rmSync(dumpFile);

      const migrations = [...loadMigrations()];
      for (const { name, sql } of CASES) {
        // The floor: the statements alone, taken back.
        await pool.query("checkpoint");
        const bare = performance.now();
        await pool.query("begin");
        await pool.query(sql);
        await pool.query("rollback");
        const floor = seconds(bare);
        await pool.query("vacuum task_instance");
        await pool.query("checkpoint");

        migrations.push({ version: (migrations.at(-1)?.version ?? 0) + 1, name: name.replaceAll(" ", "_"), sql });
        const looking = performance.now();
        let found: Preflight | undefined = await preflight(pool, await schemaStatus(pool, migrations), {
          paths,
          snapshot: true,
        });
        const look = seconds(looking);
        const steps: Record<string, number> = {};
        const progress: Progress = {
          note: () => undefined,
          step: async (title, work) => {
            const began = performance.now();
            const result = await work(() => undefined);
            steps[title.split(" ", 1)[0] ?? ""] = seconds(began);
            return result;
          },
        };
        const began = performance.now();
        const { snapshot } = await upgradeSchema({
          ...options,
          progress,
          migrations,
          onPreflight: (each) => void (found = each),
        });
        const total = seconds(began);
        const size = formatBytes(statSync(snapshot as string).size);
        rows.push(
          [
            `${name}: pre-flight`,
            `${(look * 1000).toFixed(0)} ms`,
            "",
            `database of ${formatBytes(found.datastoreBytes)}`,
          ],
          [
            `${name}: snapshot`,
            shown(steps["Make"] ?? 0),
            shown(found.snapshot?.seconds ?? 0),
            `${size}, estimated ${formatBytes(found.snapshot?.bytes ?? 0)}`,
          ],
          [`${name}: floor, the statements alone`, shown(floor), "", ""],
          [`${name}: migration`, shown(steps["Migration"] ?? 0), shown(found.pending[0]?.seconds ?? 0), ""],
          [`${name}: in all`, shown(total), shown(found.seconds), ""],
        );
      }
      await pool.end();
    }),
  );
} finally {
  remove();
}
console.log("\n| a million task instances | took | estimated | |\n|---|---|---|---|");
for (const row of rows) console.log(`| ${row.join(" | ")} |`);
