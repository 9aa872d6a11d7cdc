import { formatBytes } from "../kit/bytes.ts";
import { programVersion } from "../kit/version.ts";
import type { Inspection } from "../lite/upgrade/inspect.ts";
import { formatEstimate, type Preflight } from "../lite/upgrade/preflight.ts";

/** Tables with fewer cost nothing that a person would notice. */
const MANY_ROWS = 1_000;

/** `leoflow upgrade --check` for a person. */
export function inspectionText({ status, current, newest, postgres, preflight }: Inspection, home: string): string {
  const lines: string[] = [];
  if (status === "empty") lines.push(row("Database", `none yet in ${home}; \`leoflow lite\` makes one`));
  else lines.push(row("Schema", `${current ?? "not readable"}; Leoflow ${programVersion} needs ${newest}`));
  if (postgres.kind === "upgrade") {
    lines.push(
      row("PostgreSQL", `${postgres.dataMajor} becomes ${postgres.programs}; the old data is kept until that works`),
    );
  } else if (postgres.kind === "current" && postgres.installed !== postgres.programs) {
    lines.push(row("PostgreSQL", `its programs become ${postgres.programs}; the data stays`));
  }
  const text = lines.join("") + (preflight ? preflightText(preflight) : "");
  const end = {
    empty: "Nothing to upgrade",
    current: "Nothing to do: the database is as this release needs it",
    pending: "The next `leoflow lite` does this, or `leoflow upgrade` now",
    blocked: "The next start would refuse",
  }[status];
  return `${text}\n  ${end}\n`;
}

/** The numbers of a pre-flight, a line each. */
export function preflightText(found: Preflight): string {
  const lines: string[] = [];
  for (const { version, name, seconds, tables } of found.pending) {
    const touched = tables.length > 0 ? `, all rows of ${tables.join(", ")}` : "";
    lines.push(row("Migration", `${version} (${name.replaceAll("_", " ")}): ${formatEstimate(seconds)}${touched}`));
  }
  const tables = found.tables
    .filter(({ rows }) => rows >= MANY_ROWS)
    .map(({ name, rows }) => `${name} ${rows.toLocaleString("en")}`);
  lines.push(
    row("Database", `${formatBytes(found.datastoreBytes)}${tables.length > 0 ? `; rows: ${tables.join(", ")}` : ""}`),
  );
  if (found.snapshot) {
    const { bytes, seconds } = found.snapshot;
    lines.push(row("Snapshot", `about ${formatBytes(bytes)}, ${formatEstimate(seconds)}`));
  }
  if (found.pending.length > 0) {
    lines.push(row("In all", formatEstimate(found.seconds)));
    lines.push(row("Disk", `${formatBytes(found.neededBytes)} needed, ${formatBytes(found.freeBytes)} free`));
  }
  return lines.join("");
}

function row(name: string, text: string): string {
  return `  ${name.padEnd(11)}${text}\n`;
}

/** The same for a program. */
export function inspectionFacts({ status, current, newest, postgres, preflight, problem }: Inspection): object {
  const snapshot = preflight?.snapshot;
  return {
    leoflow_version: programVersion,
    status,
    current: current ?? null,
    newest,
    pending: (preflight?.pending ?? []).map(({ version, name, seconds, tables }) => ({
      version,
      name,
      estimated_seconds: rounded(seconds),
      tables,
    })),
    tables: (preflight?.tables ?? []).map(({ name, rows, totalBytes }) => ({ name, rows, bytes: totalBytes })),
    datastore_bytes: preflight?.datastoreBytes ?? null,
    snapshot: snapshot ? { estimated_bytes: snapshot.bytes, estimated_seconds: rounded(snapshot.seconds) } : null,
    estimated_seconds: rounded(preflight?.seconds ?? 0),
    needed_bytes: preflight?.neededBytes ?? 0,
    free_bytes: preflight?.freeBytes ?? null,
    postgres: {
      action: postgres.kind,
      data_major: postgres.dataMajor ?? null,
      programs: postgres.programs,
      installed: postgres.installed ?? null,
    },
    problem: problem ? { message: problem.message, fix: problem.fix ?? null } : null,
  };
}

function rounded(seconds: number): number {
  return Math.round(seconds * 10) / 10;
}
