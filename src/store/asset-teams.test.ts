import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { makeDag, NOON, serializedDag } from "../../test/support/factories.ts";
import { toJsonText } from "../kit/json-text.ts";
import { registerAssetChange, type AssetChange } from "./asset-changes.ts";
import { syncAssets } from "./assets.ts";
import { createTeams, setBundleTeams } from "./teams.ts";
import { inTransaction } from "./transaction.ts";

/** Who hears of an asset's update, case by case as Airflow's `AssetManager._filter_dags_by_team` decides. */

let database: TestDatabase;
const OWNERS = ["a", "b", "none"];

beforeAll(async () => {
  database = await createTestDatabase();
  const { db } = database;
  await createTeams(db, ["team_a", "team_b"]);
  await setBundleTeams(
    db,
    new Map([
      ["bundle_a", "team_a"],
      ["bundle_b", "team_b"],
    ]),
  );
  for (const owner of OWNERS) {
    for (const role of ["from", "to"])
      await makeDag(db, { dag_id: `${role}_${owner}`, bundle_name: `bundle_${owner}` });
  }
});
beforeEach(() => database.pool.query("delete from asset"));
afterAll(() => database.close());

interface Control {
  producer_teams?: string[];
  consumer_teams?: string[];
  allow_global: boolean;
}

/** A producer and a consumer in each team and outside; the schedules and outlets say this. */
async function declare({ schedule, outlet }: { schedule?: Control; outlet?: Control }): Promise<void> {
  const asset = (access_control?: Control) => ({
    ...{ __type: "asset", name: "x", uri: "s3://x", group: "asset", extra: {} },
    ...(access_control && { access_control }),
  });
  const dags = OWNERS.flatMap((owner) => [
    { dagId: `from_${owner}`, serialized: serializedDag(`from_${owner}`, [{ id: "t", outlets: [asset(outlet)] }]) },
    {
      dagId: `to_${owner}`,
      serialized: serializedDag(`to_${owner}`, [], {
        timetable: {
          __type: "airflow.timetables.simple.AssetTriggeredTimetable",
          __var: { asset_condition: asset(schedule) },
        },
      }),
    },
  ]);
  const parsed = dags.map(({ dagId, serialized }) => ({ dagId, serialized: toJsonText(serialized as never) }));
  await inTransaction(database.db, (trx) => syncAssets(trx, parsed, NOON));
}

async function heard(change: Partial<AssetChange>, multiTeam = true): Promise<string[]> {
  const whole = { asset: { name: "x", uri: "s3://x" }, extra: toJsonText({}), aliases: [], partitionKey: null };
  const context = { now: NOON, graph: () => Promise.reject(new Error("no graph is needed")), multiTeam };
  const registered = await inTransaction(database.db, (trx) =>
    registerAssetChange(trx, { ...whole, partitionDate: null, source: null, ...change }, context),
  );
  return registered?.dagIds.map((dagId) => dagId.slice("to_".length)) ?? [];
}
const from = (owner: string) => ({ source: { dagId: `from_${owner}`, runId: "r", taskId: "t", mapIndex: -1 } });
const api = (teams: string[], consumerTeams: string[] | null = null, allowGlobal = true) => ({
  api: { teams, consumerTeams, allowGlobal },
});

it.each<[string, Parameters<typeof declare>[0], Partial<AssetChange>, string[]]>([
  ["its own team, and nobody's DAGs", {}, from("a"), ["a", "none"]],
  ["all, where nobody's DAG made it", {}, from("none"), ["a", "b", "none"]],
  ["nobody's DAGs, where teams want none of nobody's", { schedule: { allow_global: false } }, from("none"), ["none"]],
  [
    "those that listen to the team",
    { schedule: { producer_teams: ["team_a"], allow_global: false } },
    from("a"),
    [...OWNERS],
  ],
  [
    "only those that are meant",
    {
      schedule: { producer_teams: ["team_a"], allow_global: true },
      outlet: { consumer_teams: [], allow_global: true },
    },
    from("a"),
    ["a", "none"],
  ],
  [
    "not nobody's DAGs, where these are not meant",
    { outlet: { consumer_teams: ["team_b"], allow_global: false } },
    from("a"),
    ["a"],
  ],
  ["a watcher's, as nobody's DAG", {}, {}, ["a", "b", "none"]],
  ["the teams of who tells by the API", {}, api(["team_b"]), ["b", "none"]],
  ["nobody's DAGs, by somebody of no team", {}, api([]), ["none"]],
  ["whom an admin means", {}, api(["team_a", "team_b"], [], false), ["a", "b"]],
])("an update reaches %s", async (_who, says, change, expected) => {
  await declare(says);
  expect(await heard(change)).toEqual(expected);
});

it("teams do not count outside multi-team mode, and what a DAG says may change", async () => {
  await declare({ schedule: { allow_global: false }, outlet: { consumer_teams: [], allow_global: false } });
  expect(await heard(from("a"), false)).toEqual(OWNERS);
  expect(await heard(from("none"))).toEqual([]);
  await declare({});
  expect(await heard(from("none"))).toEqual(OWNERS);
});
