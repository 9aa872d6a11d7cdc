import type pg from "pg";
import { formatBytes } from "../../kit/bytes.ts";
import { UserError } from "../../kit/user-error.ts";
import type { SchemaStatus } from "../../store/schema-status.ts";
import { databaseBytes, speedProbeMs, tableSizes, type TableSize } from "../../store/table-sizes.ts";
import type { LeoflowPaths } from "../paths.ts";
import { freeBytesOf } from "./free-bytes.ts";
import { estimateMigration, type MigrationEstimate } from "./estimate.ts";

/** What stands before a schema's upgrade, told without changing anything. */
export interface Preflight {
  current: number;
  newest: number;
  pending: MigrationEstimate[];
  /** The largest tables that hold rows. */
  tables: TableSize[];
  datastoreBytes: number;
  /** undefined where none is made: nothing is pending, or there is nothing to lose yet. */
  snapshot: { bytes: number; seconds: number } | undefined;
  /** Snapshot and migrations together. */
  seconds: number;
  neededBytes: number;
  freeBytes: number;
}

const LARGEST_TABLES = 6;
const MIB = 1024 * 1024;
/** PostgreSQL's journal may grow to its max_wal_size, whatever a migration writes. */
const LARGEST_JOURNAL = 512 * MIB;
const RESERVE = 64 * MIB;
/** Part of the tables' bytes that a compressed dump takes: 0.14 for task instances; values that do not compress take more. */
const SNAPSHOT_SHARE = 0.2;
const SNAPSHOT_SHARE_AT_WORST = 0.6;
/** Dumping, compressing and reading once more, measured on task instances. */
const SNAPSHOT_BYTES_PER_SECOND = 60e6;
const SNAPSHOT_LEAST_SECONDS = 0.5;
/** What the probe takes on the machine that the other figures were measured on. */
const PROBE_MS = 25;
const SLOWEST = 20;

export async function preflight(
  client: pg.ClientBase | pg.Pool,
  status: SchemaStatus,
  options: { paths: LeoflowPaths; snapshot: boolean },
): Promise<Preflight> {
  const [sizes, datastoreBytes] = [await tableSizes(client), await databaseBytes(client)];
  const slowness = status.pending.length > 0 ? await slownessOf(client) : 1;
  const pending = status.pending.map((migration) => estimateMigration(migration, sizes, slowness));
  const tableBytes = sum(sizes.map(({ bytes }) => bytes));
  const makesSnapshot = options.snapshot && status.current > 0 && pending.length > 0;
  const snapshot = makesSnapshot
    ? {
        bytes: Math.ceil(tableBytes * SNAPSHOT_SHARE),
        seconds: slowness * (SNAPSHOT_LEAST_SECONDS + tableBytes / SNAPSHOT_BYTES_PER_SECOND),
      }
    : undefined;
  const written = sum(pending.map(({ bytes }) => bytes));
  return {
    current: status.current,
    newest: status.newest,
    pending,
    tables: sizes.filter(({ rows }) => rows > 0).slice(0, LARGEST_TABLES),
    datastoreBytes,
    snapshot,
    seconds: sum(pending.map(({ seconds }) => seconds)) + (snapshot?.seconds ?? 0),
    neededBytes:
      pending.length === 0
        ? 0
        : Math.ceil(
            RESERVE +
              (snapshot ? tableBytes * SNAPSHOT_SHARE_AT_WORST : 0) +
              written +
              Math.min(LARGEST_JOURNAL, written),
          ),
    freeBytes: freeBytesOf(options.paths.home),
  };
}

/** How many times slower than ours this machine is now; a slow or busy one is told a longer time. */
async function slownessOf(client: pg.ClientBase | pg.Pool): Promise<number> {
  return Math.min(SLOWEST, Math.max(1, (await speedProbeMs(client)) / PROBE_MS));
}

/** Refuses with numbers before anything is begun. */
export function checkRoom({ neededBytes, freeBytes, snapshot }: Preflight, home: string): void {
  if (freeBytes >= neededBytes) return;
  throw new UserError(
    `the upgrade needs about ${formatBytes(neededBytes)} of free disk${snapshot ? ", with the snapshot made before it" : ""}; ` +
      `${formatBytes(freeBytes)} are free where ${home} is. Nothing was changed`,
    {
      fix:
        `free ${formatBytes(neededBytes - freeBytes)} and start again` +
        (snapshot ? "; or, once you have a backup elsewhere, run `leoflow upgrade --no-snapshot`" : ""),
    },
  );
}

/** `about 12 s`, `about 3 min`: as exact as an estimate is. */
export function formatEstimate(seconds: number): string {
  if (seconds < 100) return `about ${Math.max(1, Math.ceil(seconds))} s`;
  return seconds < 6000 ? `about ${Math.ceil(seconds / 60)} min` : `about ${(seconds / 3600).toFixed(1)} h`;
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
