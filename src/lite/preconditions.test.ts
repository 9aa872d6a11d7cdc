import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { UserError } from "../kit/user-error.ts";
import { checkDiskSpace, checkPort, checkWorkspace } from "./preconditions.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-test-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it("names a taken port and the option for another", async () => {
  const other = createServer();
  await new Promise<void>((listening) => other.listen(0, "127.0.0.1", listening));
  const { port } = other.address() as AddressInfo;
  const error = (await checkPort(port, "127.0.0.1").catch((thrown: unknown) => thrown)) as UserError;
  expect(error.message).toBe(`port ${port} is taken by another program`);
  expect(error.fix).toContain("--port");
  await new Promise((closed) => other.close(closed));
  await checkPort(port, "127.0.0.1");
});

it("says when the host is not one of this machine", async () => {
  await expect(checkPort(0, "203.0.113.7")).rejects.toThrow("203.0.113.7 is not an address of this machine");
});

it("makes a workspace and refuses one that is no folder", () => {
  checkWorkspace(join(folder, "a/b"));
  writeFileSync(join(folder, "file"), "");
  expect(() => checkWorkspace(join(folder, "file"))).toThrow(
    `cannot read the workspace ${join(folder, "file")}: it is not a folder`,
  );
  expect(() => checkWorkspace(join(folder, "file/below"))).toThrow("it is not a folder");
});

it("takes a disk with room", () => {
  checkDiskSpace(folder, false);
});
