import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { DagOutcome } from "./outcome.ts";

/** What Airflow gave, a line for each DAG. */
export function readRecordings(file: string): Map<string, DagOutcome> {
  const lines = existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
  const outcomes = lines.filter((line) => line !== "").map((line) => JSON.parse(line) as DagOutcome);
  return new Map(outcomes.map((outcome) => [outcome.dag, outcome]));
}

export function writeRecordings(file: string, recordings: ReadonlyMap<string, DagOutcome>): void {
  const sorted = [...recordings.values()].sort((a, b) => (a.dag < b.dag ? -1 : 1));
  writeFileSync(file, sorted.map((outcome) => `${JSON.stringify(outcome)}\n`).join(""));
}
