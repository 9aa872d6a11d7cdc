import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createLiteHome,
  processesOf,
  triggerDag,
  until,
  waitForDag,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";
import { play, SCENARIOS, type PeopleOutcome } from "./people/outcome.ts";

const folder = join(import.meta.dirname, "people");
const recorded = JSON.parse(readFileSync(join(folder, "outcomes.json"), "utf8")) as Record<string, PeopleOutcome>;
const QUICKLY = { pauseMs: 50, thinkMs: 0 };
const DAGS = Object.keys(SCENARIOS);

let home: LiteHome;
let lite: Lite;
beforeAll(async () => {
  home = await createLiteHome();
  for (const file of ["people.py", "tries.py"]) cpSync(join(folder, file), join(home.workspace, file));
  lite = await home.start();
  for (const dag of DAGS) await waitForDag(lite.client, dag);
});
afterAll(() => home.remove());

describe("what people and retry policies decide comes to what it does on Airflow", () => {
  const played = new Map<string, Promise<PeopleOutcome>>();
  beforeAll(() => {
    for (const dag of DAGS) {
      const playing = triggerDag(lite.client, dag).then((run) => play(lite.client, dag, run, QUICKLY));
      playing.catch(() => undefined);
      played.set(dag, playing);
    }
  });

  it.each(DAGS)("%s", async (dag) => {
    expect(await played.get(dag)).toEqual(recorded[dag]);
  });
});

describe("while people are waited for", () => {
  const pending = async (): Promise<Record<string, number>> => {
    const { dags } = (await lite.client.call("GET", "/ui/dags?has_pending_actions=true")) as {
      dags: { dag_id: string; pending_actions: object[] }[];
    };
    return Object.fromEntries(dags.map((dag) => [dag.dag_id, dag.pending_actions.length]));
  };

  it("the UI is told of it, and a Leoflow that is killed waits on", async () => {
    expect(await pending()).toEqual({});
    const chosen = await triggerDag(lite.client, "people_mapped");
    await until("both ask", async () => (await pending())["people_mapped"] === 2);
    expect(await pending()).toEqual({ people_mapped: 2 });
    const late = await triggerDag(lite.client, "people_time_out_default");
    await until("it asks too", async () => (await pending())["people_time_out_default"] === 1);
    lite.process.kill("SIGKILL");
    await until("Python and PostgreSQL have ended", () => processesOf(home.home).length === 0, 20);
    lite = await home.start();
    expect(await play(lite.client, "people_mapped", chosen, QUICKLY)).toEqual(recorded["people_mapped"]);
    const outcome = await play(lite.client, "people_time_out_default", late, QUICKLY);
    expect(outcome).toEqual(recorded["people_time_out_default"]);
    expect(await pending()).toEqual({});
  });
});
