import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { AgentServer } from "../../test/support/agent-server.ts";
import { testKit } from "../../test/support/python.ts";
import { ServerClient } from "./server-client.ts";
import { VersionFiles } from "./version-files.ts";

let server: AgentServer;
let client: ServerClient;
let folder: string;
const DAY_MS = 86_400_000;

beforeEach(async () => {
  server = await new AgentServer().start();
  client = new ServerClient(testKit, { server: server.url, token: "x" });
  folder = mkdtempSync(join(tmpdir(), "leoflow-versions-"));
});
afterEach(async () => {
  client.close();
  await server.stop();
  rmSync(folder, { recursive: true });
});

const files = (maxBytes = 1e9) => new VersionFiles(testKit, client, { folder, maxAgeMs: 7 * DAY_MS, maxBytes });

it("fetches a version once for fifty that ask at the same time, also when the server fails meanwhile", async () => {
  const digest = server.keep({ "d.py": "x = 1\n", "lib/util.py": "y = 2\n" });
  let failures = 2;
  server.refuse = () => (failures-- > 0 ? 503 : null);
  const versions = files();
  await Promise.all(Array.from({ length: 50 }, () => versions.ensure(digest)));
  expect(server.requests).toHaveLength(3);
  expect(readFileSync(join(versions.folderOf(digest), "lib/util.py"), "utf8")).toBe("y = 2\n");
  await files().ensure(digest);
  expect(server.requests).toHaveLength(3);
  expect(readdirSync(folder)).toEqual([digest]);
});

it.each([
  ["a file that is not what its name says", { "d.py": "x = 2\n" }],
  ["a file more", { "d.py": "x = 1\n", "more.py": "" }],
  ["a file outside", { "../d.py": "x = 1\n" }],
])("does not take %s", async (_, sent) => {
  const digest = server.keep({ "d.py": "x = 1\n" });
  const other = server.keep(sent);
  server.versions.set(digest, server.versions.get(other) as Buffer);
  await expect(files().ensure(digest)).rejects.toThrow("came from the server damaged");
  expect(readdirSync(folder)).toEqual([]);
  expect(existsSync(join(folder, "../d.py"))).toBe(false);
});

it("removes what is old, what is too much, and what was begun, but nothing of the last hour", async () => {
  const versions = files(40_000);
  const kept: string[] = [];
  for (const days of [0, 1, 2, 8]) {
    const digest = server.keep({ "d.py": `#${"x".repeat(19_000)}${days}\n` });
    await versions.ensure(digest);
    const used = new Date(Date.now() - days * DAY_MS);
    utimesSync(versions.folderOf(digest), used, used);
    kept.push(digest);
  }
  mkdirSync(join(folder, ".tmp-left"));
  utimesSync(join(folder, ".tmp-left"), 0, 0);
  mkdirSync(join(folder, ".tmp-now"));
  // The newest one was asked for just now, and is not counted.
  expect(await versions.collectGarbage(new Set([kept[3] as string]))).toBe(1);
  expect(readdirSync(folder).sort()).toEqual([".tmp-now", ...kept].sort());
  expect(await versions.collectGarbage(new Set())).toBe(1);
  expect(readdirSync(folder).sort()).toEqual([".tmp-now", ...kept.slice(0, 3)].sort());
});

it("does not ask again where its own disk is what is wrong", async () => {
  const digest = server.keep({ "d.py": "x = 1\n" });
  const file = join(folder, "file");
  writeFileSync(file, "");
  const versions = new VersionFiles(testKit, client, { folder: file, maxAgeMs: 1, maxBytes: 1 });
  await expect(versions.ensure(digest)).rejects.toThrow(`cannot be kept on this agent: ENOTDIR`);
});
