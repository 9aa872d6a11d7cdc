import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { addMicros } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { Reply } from "../domain/task-execution.ts";
import { makeRun, makeRunningTask, NOON } from "../../test/support/factories.ts";
import { createTestExecution, raw, type TestExecution } from "../../test/support/execution.ts";
import { sliceBounds } from "./sequence-slice.ts";
import { getXComSlice } from "./xcom.ts";

let t: TestExecution;
let made: Awaited<ReturnType<typeof makeRunningTask>>;
beforeAll(async () => {
  t = await createTestExecution();
});
afterAll(() => t.database.close());
beforeEach(async () => {
  made = await makeRunningTask(t.database.db, { state: "running" });
});

const send = (type: string, fields: Record<string, unknown> = {}, id = made.ti.id): Promise<Reply> => {
  const { dag_id, run_id } = made.run;
  return t.execution.handle(id, { type, dag_id, run_id, task_id: "a", key: "k", ...fields });
};
const set = (value: string, fields: Record<string, unknown> = {}) => send("SetXCom", { value: raw(value), ...fields });
const value = async (fields: Record<string, unknown> = {}) => {
  const reply = await send("GetXCom", fields);
  return "body" in reply ? reply.body?.value : reply;
};

describe("one value", () => {
  it.each(["1.0", "1", '{"a": [1.0, null, 12345678901234567890]}', "null", '"\\u0000 \\ud83d"', "[]"])(
    "comes back as it went in: %s",
    async (text) => {
      expect(await set(text)).toEqual({ body: null });
      expect(await send("GetXCom")).toEqual({ body: { type: "XComResult", key: "k", value: raw(text) } });
    },
  );

  it("is None when nobody pushed it", async () => {
    expect(await send("GetXCom")).toEqual({ body: { type: "XComResult", key: "k", value: null } });
  });

  it("is overwritten, and deleted", async () => {
    await set("1");
    await set("2", { dag_result: true });
    expect(await value()).toEqual(raw("2"));
    const rows = await t.database.db.selectFrom("xcom").selectAll().where("dag_run_id", "=", made.run.id).execute();
    expect(rows).toMatchObject([{ value: "2", dag_result: true, run_id: made.run.run_id, map_index: -1 }]);
    expect(await send("DeleteXCom")).toEqual({ body: null });
    expect(await value()).toBe(null);
    expect(await send("DeleteXCom")).toEqual({ body: null });
  });

  it("is kept per map index", async () => {
    await set("0", { map_index: 0 });
    await set("-1", { map_index: null });
    expect(await value({ map_index: 0 })).toEqual(raw("0"));
    expect(await value({ map_index: -1 })).toEqual(raw("-1"));
    expect(await value({ map_index: 1 })).toBe(null);
  });

  it("may be large", async () => {
    const text = JSON.stringify("x".repeat(5_000_000));
    await set(text);
    expect(await value()).toEqual(raw(text));
  });

  it("may be pushed for another task, and by none", async () => {
    await set("1", { task_id: "other" });
    expect(await send("SetXCom", { value: raw("2"), task_id: "third" }, "")).toEqual({ body: null });
    expect(await value({ task_id: "other" })).toEqual(raw("1"));
    expect(await value({ task_id: "third" })).toEqual(raw("2"));
  });

  it.each([
    [{ run_id: "none" }, 404],
    [{ key: "" }, 400],
    [{ key: null }, 422],
    [{ map_index: 1.5 }, 422],
  ])("is refused: %o", async (fields, status) => {
    expect(await set("1", fields)).toMatchObject({
      error: { type: "ErrorResponse", error: "API_SERVER_ERROR", detail: { status_code: status } },
    });
  });

  it("says what is wrong with JSON that is none", async () => {
    expect(await set("NaN")).toMatchObject({
      error: { detail: { message: expect.stringContaining("json") as string } },
    });
  });
});

describe("values of runs before", () => {
  it("are found, the newest first", async () => {
    const { dag_id } = made.dag;
    const runs = await Promise.all(
      [1, 2, 3].map((day) =>
        makeRun(t.database.db, { dag_id, logical_date: addMicros(NOON, day * 86_400_000_000), state: "success" }),
      ),
    );
    const [first, second, third] = runs.map((run) => run.run_id);
    await set("1", { run_id: first });
    await set("3", { run_id: third });
    expect(await value({ run_id: second, include_prior_dates: true })).toEqual(raw("1"));
    expect(await value({ run_id: second })).toBe(null);
    expect(await value({ run_id: third, include_prior_dates: true })).toEqual(raw("3"));
    const slice = { start: null, stop: null, step: null, includePriorDates: true };
    const values = await getXComSlice(t.x, { dagId: dag_id, runId: third as string, taskId: "a", key: "k" }, slice);
    expect(values.toSorted()).toEqual(["1", "3"]);
  });
});

describe("lengths for mapped tasks", () => {
  const lengths = () =>
    t.database.db
      .selectFrom("task_map")
      .select(["map_index", "length", "keys"])
      .where("dag_run_id", "=", made.run.id)
      .orderBy("map_index")
      .execute();

  it("are kept, and replaced", async () => {
    await set("[1,2]", { mapped_length: 2 });
    await set("[1,2,3]", { mapped_length: 3 });
    await set("[]", { mapped_length: 0, map_index: 4 });
    await set("[9]", { mapped_length: -1, map_index: 5 });
    expect(await lengths()).toEqual([
      { map_index: -1, length: 3, keys: null },
      { map_index: 4, length: 0, keys: null },
    ]);
  });

  it("end at max_map_length", async () => {
    expect(await set("[]", { mapped_length: 1024 })).toEqual({ body: null });
    expect(await set("[1]", { mapped_length: 1025 })).toMatchObject({
      error: { detail: { status_code: 400, detail: { detail: { reason: "unmappable_return_value_length" } } } },
    });
    expect(await value()).toEqual(raw("[]"));
  });
});

describe("sequences", () => {
  const all = ["10.0", "11.0", "12.0", "13.0", "14.0"];
  beforeEach(async () => {
    for (const [index, text] of all.entries()) await set(text, { map_index: index });
    await set("99", { map_index: 0, task_id: "b" });
  });

  it("are counted", async () => {
    expect(await send("GetXComCount")).toEqual({ body: { type: "XComCountResponse", len: 5 } });
    expect(await send("GetXComCount", { key: "none" })).toEqual({ body: { type: "XComCountResponse", len: 0 } });
  });

  it.each([
    [0, "10.0"],
    [4, "14.0"],
    [-1, "14.0"],
    [-5, "10.0"],
  ])("have an item at %i", async (offset, text) => {
    expect(await send("GetXComSequenceItem", { offset })).toEqual({
      body: { type: "XComSequenceIndexResult", root: raw(text) },
    });
  });

  it.each([5, -6])("have no item at %i", async (offset) => {
    const { dag_id, run_id } = made.run;
    expect(await send("GetXComSequenceItem", { offset })).toEqual({
      body: {
        type: "ErrorResponse",
        error: "XCOM_NOT_FOUND",
        detail: { dag_id, run_id, task_id: "a", key: "k", offset },
      },
    });
  });

  it.each([
    [null, null, null, [0, 1, 2, 3, 4]],
    [1, 3, null, [1, 2]],
    [-2, null, null, [3, 4]],
    [null, -2, null, [0, 1, 2]],
    [1, -1, 2, [1, 3]],
    [null, null, -1, [4, 3, 2, 1, 0]],
    [3, 0, -2, [3, 1]],
    [-10, 10, null, [0, 1, 2, 3, 4]],
    [4, 1, null, []],
  ])("are sliced [%s:%s:%s]", async (start, stop, step, indexes) => {
    const root = indexes.map((index) => raw(all[index] as string));
    const reply = await send("GetXComSequenceSlice", { start, stop, step });
    expect(reply).toEqual({ body: { type: "XComSequenceSliceResult", root } });
  });
});

it("slices as Python does", () => {
  /** CPython's slice.indices(), step by step. */
  const python = (start: number | null, stop: number | null, step: number, length: number): number[] => {
    const positions: number[] = [];
    const [low, high] = step > 0 ? [0, length] : [-1, length - 1];
    const bound = (n: number) => (n < 0 ? Math.max(n + length, low) : Math.min(n, high));
    const from = start === null ? (step > 0 ? 0 : length - 1) : bound(start);
    const to = stop === null ? (step > 0 ? length : -1) : bound(stop);
    for (let at = from; step > 0 ? at < to : at > to; at += step) positions.push(at);
    return positions;
  };
  const index = fc.option(fc.integer({ min: -12, max: 12 }));
  const anyStep = fc.integer({ min: -4, max: 4 }).filter((step) => step !== 0);
  fc.assert(
    fc.property(index, index, anyStep, fc.nat(8), (start, stop, step, length) => {
      const bounds = sliceBounds({ start, stop, step }, length);
      const range = Array.from({ length: bounds.limit }, (_, at) => bounds.offset + at);
      const walked = step < 0 ? range.toReversed() : range;
      expect(walked.filter((_, at) => at % Math.abs(step) === 0)).toEqual(python(start, stop, step, length));
    }),
  );
});

it("keeps JsonText as text all the way", async () => {
  const text = '{"b":1,"a":1.50}' as JsonText;
  await set(text);
  const row = await t.database.db
    .selectFrom("xcom")
    .select("value")
    .where("dag_run_id", "=", made.run.id)
    .executeTakeFirst();
  expect(row?.value).toBe(text);
});
