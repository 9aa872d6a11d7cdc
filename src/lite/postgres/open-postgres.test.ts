import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { pino } from "pino";
import { afterEach, expect, it } from "vitest";
import { createHome } from "../../../test/support/home.ts";
import type { DatabaseConfig } from "../../store/database.ts";
import type { LeoflowPaths } from "../paths.ts";
import { silentProgress } from "../progress.ts";
import { Toolchain } from "../python/toolchain.ts";
import { planCluster } from "./cluster-plan.ts";
import { writeNote } from "./cluster-swap.ts";
import { pinnedPostgresVersion } from "./install.ts";
import { openPostgres, type OpenPostgres } from "./open-postgres.ts";

const EARLIER = "18.6.2";
const cleanUp: (() => void)[] = [];
afterEach(() => cleanUp.splice(0).forEach((step) => step()));

/** The same home seen by a release that pins an earlier PostgreSQL. */
async function withEarlierPin(paths: LeoflowPaths): Promise<LeoflowPaths> {
  const program = mkdtempSync(join(tmpdir(), "leoflow-test-"));
  cleanUp.push(() => rmSync(program, { recursive: true, force: true }));
  mkdirSync(join(program, "python"));
  for (const name of readdirSync(join(paths.program, "python")).filter((each) => each !== "postgres.lock")) {
    symlinkSync(join(paths.program, "python", name), join(program, "python", name));
  }
  const wanted = join(program, "postgres.in");
  writeFileSync(wanted, `embedded-postgres==${EARLIER}\n`);
  const lock = join(program, "python/postgres.lock");
  const toolchain = new Toolchain(paths, silentProgress);
  const compiled = await toolchain.run(["pip", "compile", "--no-deps", "--generate-hashes", wanted, "-o", lock]);
  if (compiled.code !== 0) throw new Error(compiled.output);
  return { ...paths, program };
}

function open(paths: LeoflowPaths): Promise<OpenPostgres> {
  const toolchain = new Toolchain(paths, silentProgress);
  return openPostgres({
    paths,
    logger: pino({ level: "silent" }),
    progress: silentProgress,
    toolchain,
    runtimeDir: undefined,
  });
}

async function ask(database: DatabaseConfig, query: string): Promise<unknown> {
  const client = new pg.Client(database);
  await client.connect();
  try {
    return Object.values((await client.query<Record<string, unknown>>(query)).rows[0] ?? {})[0];
  } finally {
    await client.end();
  }
}

it("takes a minor update of PostgreSQL when it starts, keeps the data, and never goes back", async () => {
  const { paths, remove } = createHome();
  cleanUp.push(remove);
  const pinned = pinnedPostgresVersion(paths);
  const programs = () =>
    readdirSync(paths.managedPostgres)
      .filter((name) => name.startsWith("postgres-"))
      .sort();
  for (const name of programs()) rmSync(join(paths.managedPostgres, name));

  const earlier = await withEarlierPin(paths);
  const first = await open(earlier);
  await ask(first.database, "create table kept as select 7 as seven");
  await first.postgres.stop();
  expect(programs()).toEqual([`postgres-${EARLIER}`]);
  expect(planCluster(paths)).toMatchObject({ kind: "current", programs: pinned, installed: EARLIER });

  const second = await open(paths);
  expect(await ask(second.database, "select seven from kept")).toBe(7);
  // Until this release has shown that it works with the data, the earlier one can go on at once.
  expect(programs()).toEqual([`postgres-${EARLIER}`, `postgres-${pinned}`]);
  await second.settle();
  await second.postgres.stop();
  expect(programs()).toEqual([`postgres-${pinned}`]);

  const back = await open(earlier);
  expect(await ask(back.database, "select seven from kept")).toBe(7);
  await back.settle();
  await back.postgres.stop();
  expect(programs()).toEqual([`postgres-${pinned}`]);
});

it("puts the old data back when the upgraded cluster does not start", async () => {
  const { paths, remove } = createHome();
  cleanUp.push(remove);
  const { postgres, database } = await open(paths);
  await ask(database, "create table kept as select 7 as seven");
  await postgres.stop();
  // As after a swap: the new cluster holds the note, and is broken.
  const data = join(paths.managedPostgres, "data");
  const old = join(paths.managedPostgres, "data.old-18");
  cpSync(data, old, { recursive: true, preserveTimestamps: true });
  writeNote(data, { from: "18" });
  rmSync(join(data, "global/pg_control"));
  await expect(open(paths)).rejects.toThrow("The data was put back as PostgreSQL 18 left it");
  expect(existsSync(old)).toBe(false);
  const again = await open(paths);
  expect(await ask(again.database, "select seven from kept")).toBe(7);
  await again.postgres.stop();
});
