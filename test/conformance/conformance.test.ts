import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Client } from "../../bench/client.ts";
import { createLiteHome, until, type LiteHome } from "../support/lite.ts";
import { testPython } from "../support/python.ts";
import { settingsOfPlugins } from "./airflow.ts";
import { drive } from "./drive.ts";
import { copyExamples, exampleScenario, plainExample } from "./examples.ts";
import { intendedDifferences } from "./intended-differences.ts";
import { pages, runPath, type DagOutcome } from "./outcome.ts";
import { readRecordings } from "./recordings.ts";
import { scenarioOf } from "./scenarios.ts";

const here = import.meta.dirname;
/** For a machine with other work; alone it takes less than a minute. */
const LONGEST_SECONDS = 900;
const only = new RegExp(process.env["CONFORMANCE_ONLY"] ?? "");
const own = readRecordings(join(here, "recordings.jsonl"));
const examples = readRecordings(join(here, "examples.jsonl"));
const wantedOf = (recordings: ReadonlyMap<string, DagOutcome>) => [...recordings.keys()].filter((id) => only.test(id));
const outcomes = new Map<string, DagOutcome>();

let home: LiteHome;
let client: Client;
beforeAll(async () => {
  home = await createLiteHome();
  cpSync(join(here, "dags"), home.workspace, { recursive: true });
  execFileSync(testPython(), [join(here, "generator.py"), home.workspace]);
  mkdirSync(join(home.workspace, "examples"));
  copyExamples(sitePackages(), join(home.workspace, "examples"));
  ({ client } = await home.start({ env: settingsOfPlugins(join(here, "plugins")) }));
  const missing = new Set([...own.keys(), ...examples.keys()]);
  await until(
    "all DAGs are parsed",
    async () => {
      const dags = await pages<{ dag_id: string }>(client, "/api/v2/dags?order_by=dag_id", "dags");
      for (const { dag_id: dagId } of dags) missing.delete(dagId);
      return missing.size === 0;
    },
    LONGEST_SECONDS,
  );
  const target = {
    client,
    folder: home.workspace,
    versions: join(here, "versions"),
    pollMs: 400,
    concurrency: own.size + examples.size,
    scenario: (dagId: string) => (examples.has(dagId) ? exampleScenario() : scenarioOf(dagId)),
    quietMs: 1000,
    note: (text: string) => console.log(text),
  };
  await drive(target, [...wantedOf(own), ...wantedOf(examples)], LONGEST_SECONDS, (outcome) => {
    outcomes.set(outcome.dag, examples.has(outcome.dag) ? plainExample(outcome) : outcome);
  });
}, LONGEST_SECONDS * 1000);
afterAll(() => home.remove());

describe("runs come to what Airflow brings them to", () => {
  it.each(wantedOf(own))("%s", (dagId) => {
    const expected = own.get(dagId);
    expect(outcomes.get(dagId)).toEqual(intendedDifferences[dagId]?.(expected as DagOutcome) ?? expected);
  });
});

describe("Airflow's own examples do so too", () => {
  it.each(wantedOf(examples))("%s", (dagId) => expect(outcomes.get(dagId)).toEqual(examples.get(dagId)));
});

describe("bad input says why", () => {
  it.each([
    ["map_too_long", "numbers", "too large to map as a downstream's dependency"],
    ["map_not_a_sequence", "text", "unmappable return type 'str'"],
    ["map_not_a_sequence", "number", "unmappable return type 'int'"],
    ["map_not_a_sequence", "nothing", "did not push XCom for task mapping"],
    ["map_over_wrong_kinds", "bytes", "unmappable return type 'bytes'"],
    ["params_of_tasks", "wrong", "'no number' is not of type 'integer'"],
    ["trigger_refused", "no_params", "Invalid input for param needed: No value passed"],
  ])("of %s in the log of %s", async (dagId, taskId, reason) => {
    const path = `${runPath(dagId, "r1")}/taskInstances/${taskId}/logs/1?full_content=true`;
    expect(JSON.stringify(await client.call("GET", path))).toContain(reason);
  });

  it("where a task waits for a pool that nobody made", async () => {
    const path = `${runPath("pool_unknown", "r1")}/taskInstances/waits/dependencies`;
    expect(JSON.stringify(await client.call("GET", path))).toContain("non-existent pool 'no_such_pool'");
    const warnings = await client.call("GET", "/api/v2/dagWarnings?dag_id=pool_unknown");
    expect(JSON.stringify(warnings)).toContain("references non-existent pools: ['no_such_pool']");
  });
});

it("parses them all", async () => {
  expect(await pages(client, "/api/v2/importErrors", "import_errors")).toEqual([]);
});

it("names no difference of a DAG that is not there", () => {
  expect(Object.keys(intendedDifferences).filter((dagId) => !own.has(dagId))).toEqual([]);
});

function sitePackages(): string {
  const where = 'import sysconfig; print(sysconfig.get_path("purelib"))';
  return execFileSync(testPython(), ["-c", where], { encoding: "utf8" }).trim();
}
