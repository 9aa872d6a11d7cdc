import { execFileSync } from "node:child_process";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLiteHome, until, type LiteHome } from "../support/lite.ts";
import { testPython } from "../support/python.ts";
import { drive } from "./drive.ts";
import { intendedDifferences } from "./intended-differences.ts";
import { pages, type DagOutcome } from "./outcome.ts";
import { readRecordings } from "./recordings.ts";
import { scenarioOf } from "./scenarios.ts";

const here = import.meta.dirname;
/** For a machine with other work; alone it takes less than a minute. */
const LONGEST_SECONDS = 900;
const only = new RegExp(process.env["CONFORMANCE_ONLY"] ?? "");
const recordings = readRecordings(join(here, "recordings.jsonl"));
const wanted = [...recordings.keys()].filter((dagId) => only.test(dagId));
const outcomes = new Map<string, DagOutcome>();

let home: LiteHome;
beforeAll(async () => {
  home = await createLiteHome();
  cpSync(join(here, "dags"), home.workspace, { recursive: true });
  execFileSync(testPython(), [join(here, "generator.py"), home.workspace]);
  const { client } = await home.start();
  const missing = new Set(recordings.keys());
  await until(
    "all DAGs are parsed",
    async () => {
      for (const { dag_id: dagId } of await pages<{ dag_id: string }>(client, "/api/v2/dags", "dags"))
        missing.delete(dagId);
      return missing.size === 0;
    },
    LONGEST_SECONDS,
  );
  const target = {
    client,
    folder: home.workspace,
    versions: join(here, "versions"),
    pollMs: 100,
    concurrency: wanted.length,
    scenario: scenarioOf,
    quietMs: 1000,
    note: (text: string) => console.log(text),
  };
  await drive(target, wanted, LONGEST_SECONDS, (outcome) => outcomes.set(outcome.dag, outcome));
}, LONGEST_SECONDS * 1000);
afterAll(() => home.remove());

describe("runs come to what Airflow brings them to", () => {
  it.each(wanted)("%s", (dagId) => {
    const expected = recordings.get(dagId);
    expect(outcomes.get(dagId)).toEqual(intendedDifferences[dagId]?.(expected as DagOutcome) ?? expected);
  });
});

it("names no difference of a DAG that is not there", () => {
  expect(Object.keys(intendedDifferences).filter((dagId) => !recordings.has(dagId))).toEqual([]);
});
