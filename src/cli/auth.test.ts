import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { ADMIN, createLiteHome, PASSWORD, type Lite, type LiteHome } from "../../test/support/lite.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const program = join(import.meta.dirname, "../../bin/leoflow");
let home: LiteHome;
let lite: Lite;

beforeAll(async () => {
  home = await createLiteHome();
  lite = await home.start();
});
afterAll(() => home.remove());

/** `leoflow auth …` as a user runs it. */
function auth(args: string[], stdin = "", env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [program, "auth", ...args], {
    env: { ...process.env, LEOFLOW_HOME: home.home, LEOFLOW_PASSWORD: "", ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  child.stdin.end(stdin);
  let [out, err] = ["", ""];
  child.stdout.on("data", (data: Buffer) => (out += data.toString()));
  child.stderr.on("data", (data: Buffer) => (err += data.toString()));
  return new Promise<{ code: number | null; out: string; err: string }>((done) =>
    child.once("close", (code) => done({ code, out, err })),
  );
}

async function logIn(username: string, password: string): Promise<string | undefined> {
  const answer = await fetch(`${lite.base}/auth/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ username, password }),
  });
  return ((await answer.json()) as { access_token?: string }).access_token;
}

describe("leoflow auth", () => {
  it("makes, changes and removes users of a Lite that runs, and of one that is stopped", async () => {
    const made = await auth(["create-user", "Ann@example.com", "--role", "op"]);
    expect(made).toMatchObject({ code: 0, err: "" });
    expect(made.out).toContain("✓ User ann@example.com made, role OP");
    const password = /Password {3}(\S+)/.exec(made.out)?.[1] ?? "";
    const token = await logIn("ann@example.com", password);
    expect(token).toBeDefined();

    const bob = await auth(["create-user", "bob", "--role", "viewer", "--json"], "", { LEOFLOW_PASSWORD: PASSWORD });
    expect(JSON.parse(bob.out)).toMatchObject({ user: { name: "bob", role: "VIEWER", active: true } });
    expect(bob.out).not.toContain("password");
    expect((await auth(["update-user", "bob", "--password-stdin"], "from standard input\n")).code).toBe(0);
    expect(await logIn("bob", PASSWORD)).toBeUndefined();
    expect(await logIn("bob", "from standard input")).toBeDefined();

    await lite.stop();
    const changed = await auth(["update-user", "ann@example.com", "--role", "user", "--deactivate"]);
    expect(changed).toMatchObject({ code: 0, err: "" });
    expect((await auth(["delete-user", "bob"])).out).toBe("  ✓ User bob removed\n");
    const listed = await auth(["list-users", "--json"]);
    expect(JSON.parse(listed.out)).toMatchObject({
      users: [{ name: "ann@example.com", role: "USER", active: false, last_login: expect.any(String) as string }],
      configured_admin: ADMIN,
    });

    lite = await home.start();
    const me = await fetch(`${lite.base}/ui/auth/me`, { headers: { authorization: `Bearer ${token}` } });
    expect(me.status).toBe(403);
    expect(await logIn("bob", "from standard input")).toBeUndefined();
    const table = (await auth(["list-users"])).out;
    expect(table).toMatch(
      /^ {2}NAME +ROLE +STATE +LAST LOGIN\n {2}admin@leoflow\.local +ADMIN +active +\(config\.yaml\)\n/,
    );
    expect(table).toMatch(/\n {2}ann@example\.com +USER +deactivated +\d{4}-\S+\n$/);
    const { event_logs } = (await lite.client.call("GET", "/api/v2/eventLogs?event_pattern=cli_&order_by=id")) as {
      event_logs: { event: string }[];
    };
    expect(event_logs.map(({ event }) => event)).toEqual([
      ...["cli_create_user", "cli_create_user", "cli_update_user", "cli_update_user", "cli_delete_user"],
    ]);
    expect(readFileSync(join(home.home, "logs/leoflow.log"), "utf8")).not.toContain(password);
  });

  it("makes, shows and revokes tokens for agents, of a Lite that runs", async () => {
    const made = await auth(["create-agent-token", "box", "--queues", "gpu, etl"]);
    expect(made).toMatchObject({ code: 0, err: "" });
    expect(made.out).toContain("Token box made; tasks of queues gpu, etl are run by its agents alone");
    const token = /Token {6}(\S+)/.exec(made.out)?.[1] ?? "";
    const brief = await auth(["create-agent-token", "brief", "--expires", "2d", "--json"]);
    expect(JSON.parse(brief.out)).toMatchObject({ name: "brief", queues: ["default"] });
    const hello = (given: string) =>
      fetch(`${lite.base}/api/leoflow/agent/sessions`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${given}` },
        body: JSON.stringify({ hostname: "far", unixname: "leo", pid: 1, version: "1", concurrency: 1, queues: null }),
      });
    const session = await hello(token);
    expect(session.status).toBe(201);
    expect(await session.json()).toMatchObject({ agent: "box", queues: ["gpu", "etl"] });
    expect((await hello(home.home)).status).toBe(401);
    expect((await auth(["revoke-agent-token", "brief", "--json"])).out).toContain('"revoked": "brief"');
    expect((await auth(["list-agent-tokens"])).out).toMatch(
      /^ {2}NAME +QUEUES +AGENTS +LAST SEEN +EXPIRES\n {2}box +gpu,etl +1 +\d{4}-\S+ +never\n$/,
    );
    expect((await auth(["revoke-agent-token", "box"])).out).toBe("  ✓ Token box revoked\n");
    expect((await hello(token)).status).toBe(401);
    expect(JSON.parse((await auth(["list-agent-tokens", "--json"])).out)).toEqual({
      agent_tokens: [],
      total_entries: 0,
    });
    expect(readFileSync(join(home.home, "logs/leoflow.log"), "utf8")).not.toContain(token);
  });

  it("says in one line what is wrong", async () => {
    const wrong: [args: string[], code: number, text: string][] = [
      [
        ["create-user", "admin", "--role", "op"],
        1,
        'error: no user can be named "admin"\n  fix: admin is the admin of',
      ],
      [
        ["create-user", "a b", "--role", "op"],
        1,
        'error: no user can be named "a b"\n  fix: a name is an e-mail address',
      ],
      [
        ["create-user", "eve", "--role", "root"],
        2,
        'error: --role is "root"\n  fix: use one of viewer, user, op, admin',
      ],
      [["create-user", "eve"], 2, "error: required option '--role <role>' not specified"],
      [["create-user", "eve", "--role", "op", "--password-stdin"], 1, "error: the password on stdin is too short"],
      [
        ["create-user", "ann@example.com", "--role", "op"],
        1,
        "error: there is a user ann@example.com already\n  fix: ",
      ],
      [["update-user", "eve", "--role", "op"], 1, "error: there is no user eve\n  fix: `leoflow auth list-users`"],
      [["update-user", ADMIN, "--role", "op"], 1, `error: ${ADMIN} is the admin of config.yaml\n  fix: `],
      [["update-user", "ann@example.com"], 2, "error: nothing to change\n  fix: "],
      [["delete-user", "eve"], 1, "error: there is no user eve\n"],
      [["create-agent-token", "a b"], 2, 'error: no token can be named "a b"\n  fix: use up to 63 letters'],
      [["create-agent-token", "a", "--queues", "a,,b"], 2, 'error: --queues is "a,,b"\n  fix: '],
      [["create-agent-token", "a", "--expires", "soon"], 2, 'error: --expires is "soon"\n  fix: use a number and'],
      [["revoke-agent-token", "eve"], 1, "error: there is no token eve\n  fix: `leoflow auth list-agent-tokens`"],
    ];
    const results = await Promise.all(wrong.map(([args]) => auth(args, "short\n")));
    for (const [index, [args, code, text]] of wrong.entries()) {
      expect({ args, ...results[index] }).toMatchObject({ args, code, out: "" });
      expect(results[index]?.err).toContain(text);
    }
  });
});
