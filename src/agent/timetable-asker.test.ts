import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { processesNow, startTestRuntime, untilTrue, type TestRuntime } from "../../test/support/python.ts";
import type { TimetableAnswer, TimetableQuestion } from "../domain/timetable/custom.ts";
import { timetableFor } from "../domain/timetable/timetable-for.ts";
import { parseInstant } from "../kit/instant.ts";

const PLUGIN = `
import os, sys, time
from datetime import timedelta
from airflow.models import Variable
from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, DataInterval, Timetable

class Every(Timetable):
    """Whole multiples of a number of hours, so many of them."""
    def __init__(self, hours=1):
        self.hours = hours
    @property
    def summary(self):
        return f"every {self.hours} h"
    def serialize(self):
        return {"hours": self.hours}
    @classmethod
    def deserialize(cls, data):
        return cls(**data)
    def infer_manual_data_interval(self, *, run_after):
        return DataInterval(run_after - timedelta(hours=self.hours), run_after)
    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        start = last_automated_data_interval.end if last_automated_data_interval else restriction.earliest
        if start is None or (restriction.latest and start > restriction.latest):
            return None
        return DagRunInfo.interval(start, start + timedelta(hours=self.hours))
    def generate_run_id(self, *, run_type, run_after, data_interval, **extra):
        return f"{run_type}__{run_after:%Y%m%dT%H}"

class Raising(Every):
    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        print("about to fail")
        if last_automated_data_interval:
            raise KeyError("no holiday calendar")
        return super().next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    def infer_manual_data_interval(self, *, run_after):
        raise ValueError("not on a Sunday")

class Hanging(Every):
    def next_dagrun_info(self, **_):
        print("counting sheep", flush=True)
        while True:
            pass

class Dying(Every):
    def next_dagrun_info(self, **_):
        os._exit(3)

class Nonsense(Every):
    def next_dagrun_info(self, **_):
        return DagRunInfo(run_after="tomorrow", data_interval=None)

class FromVariable(Every):
    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        self.hours = int(Variable.get("hours"))
        return super().next_dagrun_info(last_automated_data_interval=last_automated_data_interval, restriction=restriction)

class P(AirflowPlugin):
    name = "timetables_of_a_test"
    timetables = [Every, Raising, Hanging, Dying, Nonsense, FromVariable]
`;

let test: TestRuntime;
const plugins = () => join(test.home, "airflow/plugins");
beforeAll(async () => {
  test = await startTestRuntime({ timetables: { deadlineMs: 3_000, longDeadlineMs: 6_000, width: 2 } });
  mkdirSync(plugins(), { recursive: true });
  writeFileSync(join(plugins(), "own.py"), PLUGIN);
  await test.runtime.warm();
});
afterAll(() => test.runtime.stop());

const at = (text: string) => parseInstant(text);
const restriction = { earliest: at("2026-01-01T00:00:00Z"), latest: null, catchup: true };
const next = (count: number, last: Extract<TimetableQuestion, { kind: "next" }>["last"] = null): TimetableQuestion => ({
  kind: "next",
  last,
  restriction,
  count,
});

function ask(name: string, question: TimetableQuestion, data = {}): Promise<TimetableAnswer> {
  return test.runtime.askTimetable("default", { type: `own.${name}`, data: { hours: 6, ...data } }, question);
}

describe("a user's own timetable", () => {
  it("names runs one after the other, with its own run ids", async () => {
    const answer = await ask("Every", next(3));
    expect(answer.failure).toBeNull();
    expect(answer.runs.map(({ runAfter, runId }) => [runAfter, runId])).toEqual([
      ["2026-01-01T06:00:00.000000Z", "scheduled__20260101T06"],
      ["2026-01-01T12:00:00.000000Z", "scheduled__20260101T12"],
      ["2026-01-01T18:00:00.000000Z", "scheduled__20260101T18"],
    ]);
    const last = answer.runs[1] ?? null;
    const after = await ask("Every", next(1, last));
    expect(after.runs).toEqual([answer.runs[2]]);
  });

  it("names the runs of a backfill and the interval of a manual run", async () => {
    const between = { earliest: at("2026-01-01T00:00:00Z"), latest: at("2026-01-02T00:00:00Z"), last: null };
    const backfill = await ask("Every", { kind: "between", ...between, limit: 100 });
    expect(backfill.runs.map(({ logicalDate }) => logicalDate?.slice(8, 13))).toEqual([
      "01T00",
      "01T06",
      "01T12",
      "01T18",
      "02T00",
    ]);
    const first = (await ask("Every", { kind: "between", ...between, limit: 2 })).runs;
    const last = first[1] ?? null;
    const rest = (await ask("Every", { kind: "between", ...between, last, limit: 100 })).runs;
    expect([...first, ...rest]).toEqual(backfill.runs);
    const logicalDate = at("2026-03-01T12:00:00Z");
    const manual = {
      kind: "manual",
      logicalDate,
      runAfter: logicalDate,
      runType: "manual",
      dataInterval: null,
    } as const;
    expect(await ask("Every", manual)).toMatchObject({
      dataInterval: { start: "2026-03-01T06:00:00.000000Z", end: logicalDate },
      runId: "manual__20260301T12",
      failure: null,
    });
    expect((await ask("Raising", manual)).failure).toMatchObject({
      kind: "raised",
      reason: "ValueError: not on a Sunday",
      isValueError: true,
    });
  });

  it("may stand in a schedule of assets or time", async () => {
    const asset = { __type: "asset", name: "a", uri: "a", group: "asset", extra: {} };
    const own = { __type: "own.Every", __var: { hours: 6 } };
    const both = {
      type: "airflow.timetables.assets.AssetOrTimeSchedule",
      data: { asset_condition: asset, timetable: own },
    };
    expect(timetableFor(both).kind).toBe("custom");
    const { runs, failure } = await test.runtime.askTimetable("default", both, next(1));
    expect([failure, runs[0]?.runAfter]).toEqual([null, "2026-01-01T06:00:00.000000Z"]);
  });

  it("may raise after some runs, die, or talk nonsense", async () => {
    const raised = await ask("Raising", next(5));
    expect(raised.runs).toHaveLength(1);
    expect(raised.failure).toMatchObject({ kind: "raised", reason: "KeyError: 'no holiday calendar'" });
    expect(raised.failure?.details).toContain("in next_dagrun_info");
    const died = await ask("Dying", next(1));
    expect(died.failure).toMatchObject({ kind: "no answer" });
    expect(died.failure?.reason).toContain("exit code 3");
    expect((await ask("Nonsense", next(1))).failure?.reason).toContain("TypeError");
    expect((await ask("Unknown", next(1))).failure?.reason).toContain("own.Unknown");
    expect((await ask("Every", next(1), { minutes: 5 })).failure?.reason).toContain("TypeError");
  });

  it("may ask for Variables, as under Airflow", async () => {
    test.execution.answers.set("GetVariable", () => ({ body: { type: "VariableResult", key: "hours", value: "2" } }));
    expect((await ask("FromVariable", next(1))).runs[0]?.runAfter).toBe("2026-01-01T02:00:00.000000Z");
  });

  it("that never answers is ended, and others do not wait for it", async () => {
    let silent = 0;
    const hanging = [1, 2, 3].map((hours) => ask("Hanging", next(1), { hours }).finally(() => silent++));
    await Promise.all(hanging.slice(0, 2));
    // Now it is known for its silence: what is asked of it next waits in a queue of its own.
    const again = ask("Hanging", next(1));
    for (let count = 0; count < 3; count++) expect((await ask("Every", next(1))).failure).toBeNull();
    for (const answer of await Promise.all([...hanging, again])) {
      expect(answer.failure).toMatchObject({ kind: "no answer", details: "counting sheep" });
      expect(answer.failure?.reason).toBe("own.Hanging gave no answer within 3 s and was ended");
    }
    await untilTrue(() => !processesNow(test).some((line) => line.includes("leoflow timetable")));
    expect(silent).toBe(3);
  });

  it("is asked as its plugin is now", async () => {
    writeFileSync(join(plugins(), "own.py"), PLUGIN.replace("timedelta(hours=self.hours)", "timedelta(hours=1)"));
    const runs = (await ask("Every", next(1))).runs.map(({ runAfter }) => runAfter);
    writeFileSync(join(plugins(), "own.py"), PLUGIN.replaceAll("timedelta(hours=self.hours)", "timedelta(days=1)"));
    runs.push(...(await ask("Every", next(1))).runs.map(({ runAfter }) => runAfter));
    expect(runs).toEqual(["2026-01-01T06:00:00.000000Z", "2026-01-02T00:00:00.000000Z"]);
  });
});
