import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { verifyPassword } from "../kit/password.ts";
import type { UserError } from "../kit/user-error.ts";
import { loadOrCreateConfig, updateConfigFile } from "./config-file.ts";
import { resolvePaths, type LeoflowPaths } from "./paths.ts";

let parent: string;
let paths: LeoflowPaths;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "leoflow-test-"));
  paths = resolvePaths(join(parent, ".leoflow"));
});
afterEach(() => rmSync(parent, { recursive: true, force: true }));

const load = (adminPassword?: string) => loadOrCreateConfig(paths, { userHome: parent, adminPassword });

function write(text: string): void {
  mkdirSync(paths.home, { recursive: true });
  writeFileSync(paths.config, text);
}

async function refusal(text: string): Promise<UserError> {
  write(text);
  const error = (await load().catch((thrown: unknown) => thrown)) as UserError;
  expect(readFileSync(paths.config, "utf8")).toBe(text);
  return error;
}

describe("a first start", () => {
  it("makes a private home and file with every key, and a password that is long and not in the file", async () => {
    const { config, created, newPassword, keepPassword } = await load();
    expect(created).toBe(true);
    expect(newPassword).toMatch(/^\w{5}-\w{5}-\w{5}-\w{5}$/);
    expect(statSync(paths.home).mode & 0o777).toBe(0o700);
    expect(statSync(paths.config).mode & 0o777).toBe(0o600);
    expect(config).toMatchObject({
      workspace: join(parent, "leoflow"),
      admin_email: "admin@leoflow.local",
      lite_port: 8088,
    });
    expect(Buffer.from(config.fernet_key, "base64url")).toHaveLength(32);
    expect(config.jwt_secret.length).toBeGreaterThanOrEqual(32);
    keepPassword();
    const text = readFileSync(paths.config, "utf8");
    expect(text).not.toContain(newPassword);
    expect([...text.matchAll(/^(\w+):/gm)].map((match) => match[1])).toEqual([
      "workspace",
      "admin_email",
      "admin_password_hash",
      "jwt_secret",
      "fernet_key",
      "lite_port",
    ]);
    const again = await load();
    expect(again).toMatchObject({ created: false, newPassword: undefined });
    expect(again.config).toEqual(config);
    expect(again.config.admin_password_hash).toMatch(/^\$argon2id\$/);
    expect(await verifyPassword(again.config.admin_password_hash, newPassword as string)).toBe(true);
  });

  it("that is cut short makes another password: the first was never shown", async () => {
    const first = await load();
    const second = await load();
    expect(second.newPassword).toBeDefined();
    expect(second.newPassword).not.toBe(first.newPassword);
    expect(second.config.fernet_key).toBe(first.config.fernet_key);
  });

  it("takes LEOFLOW_ADMIN_PASSWORD, unless it is too short", async () => {
    await expect(load("short")).rejects.toThrow("LEOFLOW_ADMIN_PASSWORD is too short");
    const { config, newPassword } = await load("correct horse battery");
    expect(newPassword).toBe("correct horse battery");
    expect(await verifyPassword(config.admin_password_hash, "correct horse battery")).toBe(true);
  });
});

describe("a file of the user's", () => {
  it("keeps comments and unknown keys when it is completed or changed", async () => {
    write("# mine\nlite_port: 9000 # not 8088\nserver_url: https://example.org\nworkspace: ~/dags\n");
    const { config, keepPassword } = await load();
    expect(config).toMatchObject({ lite_port: 9000, workspace: join(parent, "dags") });
    keepPassword();
    updateConfigFile(paths, { lite_port: 9001 });
    const text = readFileSync(paths.config, "utf8");
    expect(text).toMatch(
      /^# mine\nlite_port: 9001 # not 8088\nserver_url: https:\/\/example.org\nworkspace: ~\/dags\n/,
    );
    expect(text).toContain("admin_password_hash: $argon2id");
  });

  it("may be empty or hold only comments", async () => {
    write("# later\n");
    expect((await load()).config.lite_port).toBe(8088);
  });

  it.each([
    ["workspace: /x\nadmin_email: 'a' b\n", "line 2, column 18: Unexpected scalar"],
    ["workspace: /x\nlite_port: many\n", "line 2, column 12: lite_port must be a whole number from 1 to 65535"],
    ["lite_port: 99999\n", "line 1, column 12: lite_port must be"],
    ["workspace: [a, b]\n", "line 1, column 12: workspace must be a path"],
    ["workspace: /x\nworkspace: /y\n", "line 2, column 1: Map keys must be unique"],
    ["- workspace\n", "line 1, column 1: must be a list of `key: value`"],
    ["fernet_key: abc\n", "line 1, column 13: fernet_key must be 32 bytes"],
    ["jwt_secret:\n", "line 1, column"],
  ])("that is wrong is named with its place and left alone: %j", async (text, message) => {
    const error = await refusal(text);
    expect(error.message).toContain(`${paths.config}, ${message}`);
    expect(error.fix).toContain("it was not changed");
  });

  it("without its fernet_key is refused once there are secrets to lose", async () => {
    mkdirSync(join(paths.managedPostgres, "data"), { recursive: true });
    const error = await refusal("workspace: /x\n");
    expect(error.message).toContain("has no fernet_key");
  });
});
