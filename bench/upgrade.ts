import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { formatBytes } from "../src/kit/bytes.ts";
import { silentProgress, type Progress } from "../src/lite/progress.ts";
import { upgradeSchema } from "../src/lite/upgrade/apply.ts";
import { preflight } from "../src/lite/upgrade/preflight.ts";
import { loadMigrations } from "../src/store/migrations.ts";
import { schemaStatus } from "../src/store/schema-status.ts";
import { bareDump, createFilledHome, logger, onDatastore, printTable, secondsSince, shown } from "./filled-home.ts";

// An upgrade of a million task instances: what the pre-flight says it takes, what it takes, and what its parts alone would.

const CASES: { name: string; sql: string }[] = [
  {
    name: "a column and an index",
    sql: "alter table task_instance add column queue_note text; create index bench_end on task_instance (dag_id, end_date desc)",
  },
  { name: "a column that is filled for every row", sql: "update task_instance set queue_note = operator" },
];

const { paths, remove } = await createFilledHome(1_000_000);
const rows: string[][] = [["a million task instances", "took", "estimated", ""]];
try {
  await onDatastore(paths, async (datastore) => {
    const { database, bin } = datastore;
    const client = new pg.Client(database);
    await client.connect();

    const dumpFile = join(paths.home, "floor.sql.gz");
    const floor = bareDump(datastore, dumpFile);
    rmSync(dumpFile);
    rows.push(["floor: pg_dump \\| gzip", shown(floor.seconds), "", formatBytes(floor.bytes)]);

    const migrations = [...loadMigrations()];
    for (const { name, sql } of CASES) {
      const bare = await bareStatements(client, sql);
      migrations.push({ version: (migrations.at(-1)?.version ?? 0) + 1, name: name.replaceAll(" ", "_"), sql });
      const looking = performance.now();
      const found = await preflight(client, await schemaStatus(client, migrations), { paths, snapshot: true });
      const look = secondsSince(looking);
      const [total, steps, file] = await upgrade({ database, bin }, migrations);
      rows.push(
        [`${name}: pre-flight`, shown(look), "", `database of ${formatBytes(found.datastoreBytes)}`],
        [
          `${name}: snapshot`,
          shown(steps["Make"] ?? 0),
          shown(found.snapshot?.seconds ?? 0),
          `${formatBytes(statSync(file).size)}, estimated ${formatBytes(found.snapshot?.bytes ?? 0)}`,
        ],
        [`${name}: floor, the statements alone`, shown(bare), "", ""],
        [`${name}: migration`, shown(steps["Migration"] ?? 0), shown(found.pending[0]?.seconds ?? 0), ""],
        [`${name}: in all`, shown(total), shown(found.seconds), ""],
      );
    }
    await client.end();
  });
} finally {
  remove();
}
printTable(rows);

/** Seconds that the statements take by themselves; they are taken back. */
async function bareStatements(client: pg.Client, sql: string): Promise<number> {
  await client.query("checkpoint");
  const began = performance.now();
  await client.query("begin");
  await client.query(sql);
  await client.query("rollback");
  const seconds = secondsSince(began);
  await client.query("vacuum task_instance");
  await client.query("checkpoint");
  return seconds;
}

/** As a start does it. Seconds in all, of each step by its first word, and the snapshot's path. */
async function upgrade(
  datastore: Pick<Parameters<typeof upgradeSchema>[0], "database" | "bin">,
  migrations: ReturnType<typeof loadMigrations>,
): Promise<[number, Record<string, number>, string]> {
  const steps: Record<string, number> = {};
  const progress: Progress = {
    ...silentProgress,
    step: async (title, work) => {
      const began = performance.now();
      const result = await work(() => undefined);
      steps[title.split(" ", 1)[0] ?? ""] = secondsSince(began);
      return result;
    },
  };
  const began = performance.now();
  const { snapshot = "" } = await upgradeSchema({ ...datastore, paths, logger, progress, migrations });
  return [secondsSince(began), steps, snapshot];
}
