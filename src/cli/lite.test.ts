import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { createHome } from "../../test/support/home.ts";
import { canMount, OWN_MOUNTS } from "../../test/support/mounts.ts";
import { bundleProgram, type BundledProgram } from "../../test/support/run-typescript.ts";
import { until } from "../../test/support/until.ts";

// Bad days as a user meets them: the whole program, its exit code and its two lines on stderr.
vi.setConfig({ testTimeout: 90_000 });

let program: BundledProgram;
let folder: string;
beforeAll(async () => {
  program = await bundleProgram(join(import.meta.dirname, "../main.ts"));
});
afterAll(() => program.remove());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-test-"));
  vi.stubEnv("LEOFLOW_HOME", join(folder, ".leoflow"));
  vi.stubEnv("LEOFLOW_WORKSPACE", join(folder, "leoflow"));
});
afterEach(() => {
  program.killAll();
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const lite = (args: string[], wrapper: string[] = []) => program.run(["lite", ...args], wrapper);

async function takenPort(): Promise<{ port: number; free: () => Promise<void> }> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  return { port, free: () => new Promise((closed) => server.close(() => closed())) };
}

it("port taken", async () => {
  const { port, free } = await takenPort();
  const { code, errors } = await lite(["--port", String(port)]).ended;
  await free();
  expect(code).toBe(1);
  expect(errors).toBe(
    `error: port ${port} is taken by another program\n` +
      `  fix: stop that program, or choose another port: \`leoflow lite --port ${port + 1}\`\n`,
  );
});

it("config.yaml broken", async () => {
  const file = join(folder, ".leoflow/config.yaml");
  mkdirSync(join(folder, ".leoflow"));
  writeFileSync(file, "lite_port: 8088\nworkspace: 'a' b\n");
  const { code, errors } = await lite([]).ended;
  expect(code).toBe(1);
  expect(errors).toMatch(`error: ${file}, line 2, column 16: Unexpected scalar`);
  expect(readFileSync(file, "utf8")).toBe("lite_port: 8088\nworkspace: 'a' b\n");
});

it.runIf(process.getuid?.() === 0)("workspace not readable", async () => {
  const workspace = join(folder, "leoflow");
  mkdirSync(workspace);
  chmodSync(workspace, 0o700);
  chownSync(folder, 65534, 65534);
  const { port, free } = await takenPort();
  await free();
  const nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
  const { code, errors } = await lite(["--port", String(port)], nobody).ended;
  expect(code).toBe(1);
  expect(errors).toContain(`error: cannot read the workspace ${workspace}: permission denied\n  fix: make it readable`);
});

it("a second one on the same home, then Ctrl-C", async () => {
  const { paths, remove } = createHome();
  vi.stubEnv("LEOFLOW_HOME", paths.home);
  const { port, free } = await takenPort();
  await free();
  const first = lite(["--port", String(port)]);
  await until("the first is ready", () => first.output().includes("Leoflow is ready"));
  expect(first.output()).toMatch(/Password {3}\w{5}-\w{5}-\w{5}-\w{5} /);
  const second = await lite(["--port", String(port + 1)]).ended;
  expect(second.code).toBe(1);
  expect(second.errors).toBe(
    `error: Leoflow Lite already runs on ${paths.home} (process ${first.child.pid}, http://localhost:${port})\n` +
      `  fix: open http://localhost:${port}, or stop it with \`kill ${first.child.pid}\`\n`,
  );
  const began = performance.now();
  first.child.kill("SIGINT");
  expect((await first.ended).code).toBe(0);
  expect(performance.now() - began).toBeLessThan(5_000);
  expect(first.output()).toContain("Stopping (Ctrl-C; once more ends it at once)");
  remove();
});

it.runIf(canMount)("disk full", async () => {
  const disk = join(folder, "disk");
  mkdirSync(disk);
  vi.stubEnv("LEOFLOW_HOME", join(disk, ".leoflow"));
  const { port, free } = await takenPort();
  await free();
  const mounted = 'mount -t tmpfs -o size=30m none "$0" && exec "$@"';
  const wrapper = [...OWN_MOUNTS, "sh", "-c", mounted, disk];
  const { code, errors } = await lite(["--port", String(port)], wrapper).ended;
  expect(code).toBe(1);
  expect(errors).toContain(
    `error: the disk is full: 29 MB are left where ${disk}/.leoflow is\n  fix: free some space, 700 MB`,
  );
});
