import { expect, expectTypeOf, it } from "vitest";
import { float, task, type Connection, type TaskContext, type TaskFunction } from "./index.ts";

it("types what a task is given and what it returns", async () => {
  const total = task(async ({ xcom, variables, connections, logicalDate, params }: TaskContext) => {
    expectTypeOf(xcom.pull<number[]>("rows")).resolves.toEqualTypeOf<number[] | null>();
    expectTypeOf(xcom.pull("rows")).resolves.toBeUnknown();
    expectTypeOf(xcom.pullAll<string>("rows")).resolves.toEqualTypeOf<string[]>();
    expectTypeOf(variables.get("a")).resolves.toEqualTypeOf<string>();
    expectTypeOf(variables.get("a", null)).resolves.toEqualTypeOf<string | null>();
    expectTypeOf(variables.getJson<{ a: 1 }, undefined>("a", undefined)).resolves.toEqualTypeOf<{ a: 1 } | undefined>();
    expectTypeOf(connections.get("db")).resolves.toEqualTypeOf<Connection>();
    expectTypeOf(logicalDate).toEqualTypeOf<Date | null>();
    expectTypeOf(params["region"]).toBeUnknown();
    return (await xcom.pull<number>("total")) ?? 0;
  });
  expectTypeOf(total).toEqualTypeOf<TaskFunction<number>>();
  // @ts-expect-error -- a task is a function.
  expectTypeOf(task("total")).not.toBeNever();
  expectTypeOf(float).parameter(0).toEqualTypeOf<number>();

  // A function of a task is one that a test can call with what it uses.
  const xcom = { pull: () => Promise.resolve(3) } as unknown as TaskContext["xcom"];
  expect(await task(async ({ xcom }) => await xcom.pull("total"))({ xcom } as TaskContext)).toBe(3);
});
