import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { buildIfStale } from "../../bin/set-up.mjs";
import { UserError } from "../kit/user-error.ts";
import { programVersion } from "../kit/version.ts";
import { runCli } from "./cli.ts";
import { describeError } from "./errors.ts";

afterEach(() => vi.restoreAllMocks());

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ["", ""];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => ((out += String(text)), true));
  vi.spyOn(process.stderr, "write").mockImplementation((text) => ((err += String(text)), true));
  vi.spyOn(console, "log").mockImplementation((text) => (out += `${String(text)}\n`));
  const code = await runCli(args, { loadControlPlane: () => Promise.reject(new Error("not in this test")) });
  vi.restoreAllMocks();
  return { code, out, err };
}

describe("leoflow", () => {
  it("prints its help with examples when it is given nothing", async () => {
    const { code, out } = await run();
    expect(code).toBe(0);
    expect(out).toContain("Examples:\n  leoflow lite\n");
    expect((await run("lite", "--help")).out).toContain("leoflow lite --port 9000");
  });

  it("prints versions, for programs too", async () => {
    expect((await run("version")).out).toMatch(/^leoflow \d+\.\d+\.\d+ \(Airflow 3\.3\.2, schema \d+, Node /);
    const facts = JSON.parse((await run("version", "--json")).out) as Record<string, unknown>;
    expect(facts).toMatchObject({ airflow_version: "3.3.2", schema_version: expect.any(Number) as number });
    expect((await run("--version")).out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it.each([
    [["server"], "error: the server is a program of its own, leoflow-server"],
    [["lit"], "error: unknown command 'lit'\n  fix: did you mean lite?"],
    [["lite", "--prot", "1"], "error: unknown option '--prot'\n  fix: did you mean --port?"],
    [["lite", "--port"], "error: option '--port <number>' argument missing\n  fix: `leoflow --help`"],
    [["lite", "--port", "abc"], 'error: --port is "abc", not a port\n  fix: use a whole number from 1 to 65535'],
    [["lite", "--port", "70000"], 'error: --port is "70000", not a port'],
    [["lite", "more"], "error: too many arguments for 'lite'"],
  ])("answers wrong use with one line and a way out: %j", async (args, text) => {
    const { code, err } = await run(...args);
    expect(code).toBe(2);
    expect(err).toContain(text);
  });
});

it.each(["--force", "--partial", "--skip-migrations", "--ignore-schema"])(
  "D6: a start has no way around the schema: %s is unknown",
  async (option) => {
    expect(await run("lite", option)).toMatchObject({
      code: 2,
      err: expect.stringContaining(`error: unknown option '${option}'`) as string,
    });
  },
);

it("shows a stack only for faults of its own", () => {
  expect(describeError(new UserError("the disk is full", { fix: "free some" }))).toBe(
    "error: the disk is full\n  fix: free some\n",
  );
  expect(describeError(new UserError("no"))).toBe("error: no\n");
  expect(describeError(new Error("oh", { cause: new Error("deep") }))).toMatch(
    /^error: Error: oh\n {4}at .*caused by: /s,
  );
});

describe("bin/", () => {
  const bin = join(import.meta.dirname, "../../bin");

  it.each(["leoflow", "start.mjs", "leoflow-server"])("%s names the Node it needs to an older one", (program) => {
    const folder = mkdtempSync(join(tmpdir(), "leoflow-test-"));
    const older = join(folder, "older.cjs");
    writeFileSync(older, 'Object.defineProperty(process, "versions", { value: { node: "16.20.2" } });');
    const { status, stderr } = spawnSync(process.execPath, ["-r", older, join(bin, program)], { encoding: "utf8" });
    rmSync(folder, { recursive: true });
    expect(status).toBe(1);
    expect(stderr).toContain(
      "error: Leoflow needs Node 20.11 or newer, this is Node 16.20.2\n  fix: install a newer one",
    );
  });

  it("leoflow-agent says its version, and what it lacks", () => {
    buildIfStale();
    const folder = mkdtempSync(join(tmpdir(), "leoflow-test-"));
    const empty = join(folder, "token");
    writeFileSync(empty, "");
    const run = (...args: string[]) =>
      spawnSync(process.execPath, [join(bin, "leoflow-agent"), ...args], {
        encoding: "utf8",
        env: { ...process.env, LEOFLOW_HOME: folder, LEOFLOW_SERVER: "", LEOFLOW_AGENT_TOKEN: "" },
      });
    expect(run("--version").stdout).toBe(`${programVersion}\n`);
    expect(run("--help").stdout).toContain("Examples:\n  leoflow-agent --server https://");
    const server = ["--server", "http://127.0.0.1:1"];
    for (const [args, text] of [
      [[], "error: the agent has no server\n  fix: name it with --server https://"],
      [["--server", "localhost:8088"], 'error: the server "localhost:8088" is not an http or https address'],
      [server, "error: the agent has no token\n  fix: make one on the server with `leoflow auth create-agent-token`"],
      [[...server, "--token-file", empty], `error: the token file ${empty} is empty`],
      [[...server, "--token-file", join(folder, "none")], "error: cannot read the token file"],
    ] as const) {
      expect(run(...args)).toMatchObject({ status: 2, stderr: expect.stringContaining(text) as string });
    }
    rmSync(folder, { recursive: true });
  });
});
