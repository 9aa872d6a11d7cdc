import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { readServerSettings } from "./config-glance.ts";
import { resolvePaths } from "./paths.ts";

const home = mkdtempSync(join(tmpdir(), "leoflow-glance-"));
afterAll(() => rmSync(home, { recursive: true }));
const SECRET = "s".repeat(40);

async function read(text: string) {
  writeFileSync(join(home, "config.yaml"), text);
  const { server_url, token, jwt_secret, admin_email } = await readServerSettings(resolvePaths(home), {
    userHome: "/",
  });
  return { server_url, token, jwt_secret, admin_email };
}

const nothing = { server_url: undefined, token: undefined, jwt_secret: undefined, admin_email: undefined };

it.each<[string, string, Partial<Record<keyof typeof nothing, string>>]>([
  [
    "as Leoflow writes it",
    `# mine\nworkspace: /w\nadmin_email: a@b.c\njwt_secret: ${SECRET}\n`,
    { admin_email: "a@b.c", jwt_secret: SECRET },
  ],
  [
    "signed in",
    "server_url: http://localhost:8088\ntoken: eyJ.a_b-c.d\n",
    { server_url: "http://localhost:8088", token: "eyJ.a_b-c.d" },
  ],
  ["quoted", `token: "a: b"\njwt_secret: '${SECRET}'\n`, { token: "a: b", jwt_secret: SECRET }],
  ["with a comment behind", `token: abc # mine\n`, { token: "abc" }],
  ["in braces", `{ token: abc, admin_email: x@y.z }\n`, { token: "abc", admin_email: "x@y.z" }],
  ["in a block of another key", `note: |\n  token: no\nadmin_email: x@y.z\n`, { admin_email: "x@y.z" }],
  ["empty", "", {}],
])("reads a config.yaml that is %s", async (_name, text, expected) => {
  expect(await read(text)).toEqual({ ...nothing, ...expected });
});

it("says where a file is wrong", async () => {
  await expect(read("token: 12\n")).rejects.toThrow("line 1, column 8: token must be a text");
  await expect(read("token: [\n")).rejects.toThrow("line 2");
});

it("knows nothing where there is no file", async () => {
  expect(await readServerSettings(resolvePaths(join(home, "none")), { userHome: "/" })).toEqual({});
});
