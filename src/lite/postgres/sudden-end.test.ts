import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, expect, inject, it, vi } from "vitest";
import { canMount, OWN_MOUNTS } from "../../../test/support/mounts.ts";
import { bundleProgram, firstJson, type BundledProgram } from "../../../test/support/run-typescript.ts";
import { until } from "../../../test/support/until.ts";
import { ManagedPostgres } from "./managed-postgres.ts";
import { isAlive, readPostmasterFile } from "./stale-server.ts";

// initdb writes a thousand files, which takes seconds on a busy disk.
vi.setConfig({ testTimeout: 90_000 });

const bin = inject("postgresBin");
let program: BundledProgram;
let folder: string;
beforeAll(async () => {
  program = await bundleProgram(join(import.meta.dirname, "../../../test/support/postgres-program.ts"));
  folder = mkdtempSync(join(tmpdir(), "leoflow-test-"));
});
afterAll(() => {
  program.remove();
  rmSync(folder, { recursive: true, force: true });
});

afterEach(() => program.killAll());

const postmaster = () => readPostmasterFile(join(folder, "data"))?.pid ?? 0;

function guardianPids(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        return line.includes("leoflow-guardian") && line.includes(join(folder, "data"));
      } catch {
        return false; // ended meanwhile
      }
    })
    .map(Number);
}

it("PostgreSQL ends in order when Leoflow is killed, and its guardian with it", async () => {
  const leoflow = program.start([folder, bin]);
  await firstJson(leoflow);
  const pid = postmaster();
  leoflow.kill("SIGKILL");
  await until("PostgreSQL has ended", () => !isAlive(pid));
  // Its pid file is removed by an orderly end only.
  expect(existsSync(join(folder, "data/postmaster.pid"))).toBe(false);
  if (existsSync("/proc/self")) await until("the guardian has ended", () => guardianPids().length === 0);
});

it.runIf(existsSync("/proc/self"))(
  "a server left behind by Leoflow and guardian is stopped and started anew",
  async () => {
    const leoflow = program.start([folder, bin]);
    await firstJson(leoflow);
    const left = postmaster();
    // The guardian is started again by a living Leoflow, so Leoflow has to go first.
    const guardians = guardianPids();
    expect(guardians).toHaveLength(1);
    process.kill(guardians[0] as number, "SIGSTOP");
    leoflow.kill("SIGKILL");
    process.kill(guardians[0] as number, "SIGKILL");
    expect(isAlive(left)).toBe(true);

    const server = new ManagedPostgres({ logger: pino({ level: "silent" }), bin, folder });
    await server.start();
    expect(isAlive(left)).toBe(false);
    expect(postmaster()).not.toBe(left);
    await server.stop();
  },
);

it.runIf(existsSync("/proc/self"))("a killed guardian is replaced", async () => {
  const leoflow = program.start([folder, bin]);
  await firstJson(leoflow);
  const [first] = guardianPids();
  process.kill(first as number, "SIGKILL");
  await until("there is another guardian", () => guardianPids().some((pid) => pid !== first));
  const pid = postmaster();
  leoflow.kill("SIGKILL");
  await until("PostgreSQL has ended", () => !isAlive(pid));
});

it.runIf(canMount)("says that the disk is full", async () => {
  const mount = [...OWN_MOUNTS, "sh", "-c"];
  const script = 'mount -t tmpfs -o size=30m none "$0" && exec "$@"';
  const disk = mkdtempSync(join(tmpdir(), "leoflow-test-"));
  const leoflow = program.start([join(disk, "postgres"), bin], [...mount, script, disk]);
  const { error, fix } = await firstJson<{ error: string; fix: string }>(leoflow);
  expect(error).toBe("could not make PostgreSQL's data folder: the disk is full");
  expect(fix).toContain("free some space");
  rmSync(disk, { recursive: true, force: true });
});
