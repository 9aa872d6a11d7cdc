import type { Migration } from "../../store/migrations.ts";
import { splitStatements } from "../../store/sql-statements.ts";
import type { TableSize } from "../../store/table-sizes.ts";

/** What a statement does to every row of a table, cheapest first. */
type Work = "nothing" | "scan" | "delete" | "index" | "rewrite" | "update";

/**
 * Microseconds a row, measured on task_instance with a million rows (270 MB and six indexes); bench/upgrade.ts measures it again.
 * They are rounded up: a promise of half a minute that takes ten seconds disappoints nobody.
 */
const MICROSECONDS: Record<Work, number> = { nothing: 0, scan: 0.2, delete: 1, index: 1.5, rewrite: 10, update: 25 };
/** Disk that it takes until it is committed, in parts of the table with its indexes. */
const DISK_SHARE: Record<Work, number> = { nothing: 0, scan: 0, delete: 0, index: 0.2, rewrite: 1, update: 1 };
/** What a migration costs however small the tables are. */
const LEAST_SECONDS = 0.05;

export interface MigrationEstimate {
  version: number;
  name: string;
  seconds: number;
  /** Disk that is needed while it runs. */
  bytes: number;
  /** Tables of which every row is read or written. */
  tables: string[];
}

/** What a migration will cost on tables of these sizes, told from the kind of its statements, on a machine this much slower. */
export function estimateMigration(
  { version, name, sql }: Migration,
  sizes: TableSize[],
  slowness = 1,
): MigrationEstimate {
  let seconds = LEAST_SECONDS;
  let bytes = 0;
  const tables = new Set<string>();
  for (const statement of splitStatements(sql)) {
    const { work, names } = workOf(statement);
    if (work === "nothing") continue;
    for (const size of sizes.filter((each) => names.includes(each.name))) {
      seconds += (size.rows * MICROSECONDS[work]) / 1e6;
      bytes += size.totalBytes * DISK_SHARE[work];
      tables.add(size.name);
    }
  }
  return { version, name, seconds: seconds * slowness, bytes, tables: [...tables] };
}

const NAME = String.raw`(?:only\s+)?(?:\w+\.)?(\w+)`;
const INDEX = new RegExp(
  String.raw`^create\s+(?:unique\s+)?index\s+(?:concurrently\s+)?(?:if\s+not\s+exists\s+)?(?:\w+\s+)?on\s+${NAME}`,
);
const ALTER = new RegExp(String.raw`^alter\s+table\s+(?:if\s+exists\s+)?${NAME}\s+(.*)$`, "s");
const UPDATE = new RegExp(String.raw`^update\s+${NAME}`);
const DELETE = new RegExp(String.raw`^delete\s+from\s+${NAME}`);
const FREE = /^(create\s+(table|type|sequence|view|schema|extension|or)|drop|comment|set|grant|revoke|truncate)\s/;

/** The work of a statement and the tables it is done to. What is not understood is taken for the most expensive. */
function workOf(statement: string): { work: Work; names: string[] } {
  const text = statement.replaceAll('"', "").toLowerCase();
  const index = INDEX.exec(text)?.[1];
  if (index) return { work: "index", names: [index] };
  const alter = ALTER.exec(text);
  if (alter) return { work: alterWork(alter[2] ?? ""), names: [alter[1] ?? ""] };
  const updated = UPDATE.exec(text)?.[1];
  if (updated) return { work: "update", names: [updated] };
  const deleted = DELETE.exec(text)?.[1];
  if (deleted) return { work: "delete", names: [deleted] };
  const names = text.match(/\w+/g) ?? [];
  if (/^create\s+table\s+.*\bas\b\s*\(?\s*(select|with|table)\b/s.test(text)) return { work: "rewrite", names };
  if (FREE.test(text) || /^insert\s.*\bvalues\b/s.test(text)) return { work: "nothing", names: [] };
  return { work: "update", names };
}

function alterWork(actions: string): Work {
  if (/\btype\b|\bstored\b|\bserial\b|\bbigserial\b|\bidentity\b|\bset\s+(un)?logged\b/.test(actions)) return "rewrite";
  // A default that is the same for all rows is kept beside the table; one that differs is written into each.
  if (/\badd\b.*\bdefault\s+\(?\s*(gen_random_uuid|random|clock_timestamp|nextval|uuidv7)\s*\(/s.test(actions))
    return "rewrite";
  if (/\b(unique|primary\s+key|exclude)\b/.test(actions)) return "index";
  if (/\badd\s+constraint\b|\badd\s+(check|foreign)\b|\bset\s+not\s+null\b|\bvalidate\b/.test(actions)) return "scan";
  return "nothing";
}
