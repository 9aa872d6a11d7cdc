import { expect, it, vi } from "vitest";
import { childEnvironment, expandHome, parsePort, readEnvironment } from "./config.ts";

it("reads the environment once and whole", () => {
  expect(readEnvironment({ HOME: "/home/leo" })).toMatchObject({
    home: "/home/leo/.leoflow",
    logLevel: "info",
    noColor: false,
  });
  const environment = readEnvironment({
    HOME: "/home/leo",
    LEOFLOW_HOME: "~/elsewhere",
    LEOFLOW_LITE_PORT: "9000",
    LEOFLOW_WORKSPACE: " ",
    NO_COLOR: "1",
  });
  expect(environment).toMatchObject({ home: "/home/leo/elsewhere", port: 9000, workspace: undefined, noColor: true });
  expect(Object.isFrozen(environment)).toBe(true);
});

it("names a variable that is wrong", () => {
  expect(() => readEnvironment({ LEOFLOW_LITE_PORT: "x" })).toThrow('LEOFLOW_LITE_PORT is "x", not a port');
  expect(() => readEnvironment({ LEOFLOW_LOG_LEVEL: "loud" })).toThrow('LEOFLOW_LOG_LEVEL is "loud"');
});

it.each(["0", "65536", "80.5", "-1", "1e3", ""])("%j is no port", (text) => {
  expect(() => parsePort(text, "--port")).toThrow("not a port");
});

it("expands a home directory as a shell does", () => {
  expect(expandHome("~/dags", "/home/leo")).toBe("/home/leo/dags");
  expect(expandHome("~", "/home/leo")).toBe("/home/leo");
  expect(expandHome("/a/~b", "/home/leo")).toBe("/a/~b");
});

it("hands children the environment with changes, never the admin's password", () => {
  vi.stubEnv("LEOFLOW_ADMIN_PASSWORD", "secret");
  vi.stubEnv("TAKEN", "1");
  const env = childEnvironment({ TAKEN: undefined, GIVEN: "2" });
  expect(env).toMatchObject({ GIVEN: "2", PATH: expect.any(String) as string });
  expect(env).not.toHaveProperty("TAKEN");
  expect(env).not.toHaveProperty("LEOFLOW_ADMIN_PASSWORD");
  vi.unstubAllEnvs();
});

it("reads [core] parallelism as Airflow does", () => {
  const read = (text?: string) => readEnvironment({ HOME: "/h", AIRFLOW__CORE__PARALLELISM: text }).parallelism;
  expect([read(), read(" 200 # wide"), read("0"), read("")]).toEqual([undefined, 200, Infinity, undefined]);
  expect(() => read("many")).toThrow('AIRFLOW__CORE__PARALLELISM is "many"');
});
