import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { createLiteHome, ADMIN, PASSWORD, type Lite, type LiteHome } from "../../test/support/lite.ts";
import { until } from "../../test/support/until.ts";
import { generatePassword, verifyPassword } from "../kit/password.ts";
import { loadOrCreateConfig } from "./config-file.ts";
import { resolvePaths, type LeoflowPaths } from "./paths.ts";

vi.setConfig({ testTimeout: 60_000 });

const program = join(import.meta.dirname, "../../bin/leoflow");

interface Ended {
  code: number | null;
  out: string;
  err: string;
}

/** `leoflow lite reset-password` as a user runs it. */
function reset(home: string, args: string[] = [], stdin = "", env: Record<string, string> = {}): Promise<Ended> {
  const child = spawn(process.execPath, [program, "lite", "reset-password", ...args], {
    env: { ...process.env, LEOFLOW_HOME: home, LEOFLOW_ADMIN_PASSWORD: "", ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  child.stdin.end(stdin);
  let [out, err] = ["", ""];
  child.stdout.on("data", (data: Buffer) => (out += data.toString()));
  child.stderr.on("data", (data: Buffer) => (err += data.toString()));
  return new Promise((done) => child.once("close", (code) => done({ code, out, err })));
}

describe("P7: while Lite runs", () => {
  let home: LiteHome;
  let lite: Lite;
  beforeAll(async () => {
    home = await createLiteHome();
    lite = await home.start();
  });
  afterAll(() => home.remove());

  const logIn = async (password: string) => {
    const answer = await fetch(`${lite.base}/auth/token`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ username: ADMIN, password }),
    });
    const { access_token: token } = (await answer.json()) as { access_token?: string };
    return { status: answer.status, cookie: `_token=${token}` };
  };
  const asks = async (cookie: string) => (await fetch(`${lite.base}/ui/auth/me`, { headers: { cookie } })).status;

  it("takes the new password at once, refuses the old one, and keeps those signed in, over a restart too", async () => {
    const session = (await logIn(PASSWORD)).cookie;
    const before = readFileSync(join(home.home, "config.yaml"), "utf8");
    const { code, out } = await reset(home.home, ["--user", ADMIN]);
    expect(code).toBe(0);
    const made = /Password {3}(\S+)/.exec(out)?.[1] ?? "";
    expect(made).toMatch(/^\w{5}-\w{5}-\w{5}-\w{5}$/);
    expect((await logIn(made)).status).toBe(201);
    expect((await logIn(PASSWORD)).status).toBe(401);
    expect(await asks(session)).toBe(200);

    // One line changed, jwt_secret and fernet_key among those that did not.
    const after = readFileSync(join(home.home, "config.yaml"), "utf8");
    const hash = /^admin_password_hash: .*$/m;
    expect(after.replace(hash, "")).toBe(before.replace(hash, ""));
    expect(statSync(join(home.home, "config.yaml")).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(home.home, "logs/leoflow.log"), "utf8")).not.toContain(made);

    const known = await reset(home.home, ["--password-stdin"], `${PASSWORD}\n`);
    expect(known.out).not.toContain(PASSWORD);
    await lite.stop();
    lite = await home.start();
    expect((await logIn(made)).status).toBe(401);
    expect(await asks(session)).toBe(200);
  });

  it("keeps the last password while config.yaml is broken", async () => {
    const file = join(home.home, "config.yaml");
    const before = readFileSync(file, "utf8");
    writeFileSync(file, "workspace: 'a' b\n");
    expect((await logIn(PASSWORD)).status).toBe(201);
    const { code, err } = await reset(home.home);
    expect(code).toBe(1);
    expect(err).toMatch(`error: ${file}, line 1, column 16: Unexpected scalar`);
    writeFileSync(file, before);
    expect((await logIn(PASSWORD)).status).toBe(201);
  });
});

describe("while Lite is stopped", () => {
  let paths: LeoflowPaths;
  beforeEach(async () => {
    const parent = mkdtempSync(join(tmpdir(), "leoflow-test-"));
    paths = resolvePaths(join(parent, ".leoflow"));
    const { keepPassword } = await loadOrCreateConfig(paths, { userHome: parent, adminPassword: undefined });
    keepPassword();
  });
  afterEach(() => rmSync(dirname(paths.home), { recursive: true, force: true }));

  const fits = (password: string) => {
    const hash = /^admin_password_hash: "?([^"\n]+)/m.exec(readFileSync(paths.config, "utf8"))?.[1] ?? "";
    return verifyPassword(hash, password);
  };

  it("takes a password from stdin or the environment", async () => {
    expect((await reset(paths.home, ["--password-stdin"], "with spaces \r\nmore\n")).code).toBe(0);
    expect(await fits("with spaces ")).toBe(true);
    const given = generatePassword();
    const { code, out } = await reset(paths.home, ["--json"], "", { LEOFLOW_ADMIN_PASSWORD: given });
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({ user: ADMIN });
    expect(await fits(given)).toBe(true);
  });

  it("shows a made password to scripts once", async () => {
    const { out } = await reset(paths.home, ["--json", "--user", "admin"]);
    const { user, password } = JSON.parse(out) as { user: string; password: string };
    expect(user).toBe(ADMIN);
    expect(await fits(password)).toBe(true);
  });

  it("refuses what is too short, and users that do not exist, and changes nothing", async () => {
    const before = readFileSync(paths.config, "utf8");
    expect(await reset(paths.home, ["--password-stdin"], "short\n")).toMatchObject({
      code: 1,
      err: expect.stringContaining(
        "error: the password on stdin is too short\n  fix: use 8 characters or more",
      ) as string,
    });
    expect((await reset(paths.home, ["--password-stdin"])).err).toContain("stdin holds no password");
    expect((await reset(paths.home, ["--user", "eve@example.org"])).err).toBe(
      `error: eve@example.org is not the admin of config.yaml, who is ${ADMIN}\n` +
        "  fix: leave --user away for the admin; other users get one with `leoflow auth update-user eve@example.org --new-password`\n",
    );
    expect(readFileSync(paths.config, "utf8")).toBe(before);
  });

  it("says where there is no installation, and makes none", async () => {
    const empty = join(dirname(paths.home), "elsewhere");
    const { code, err } = await reset(empty);
    expect(code).toBe(1);
    expect(err).toContain(`error: no Lite install found at ${empty} — run \`leoflow setup\` first\n`);
    expect(() => statSync(empty)).toThrow("ENOENT");
    mkdirSync(empty);
    expect((await reset(empty)).err).toContain("no Lite install found");
  });

  it("asks twice on a terminal without showing what is typed", async () => {
    const child = spawn("script", ["-qfec", `'${process.execPath}' '${program}' lite reset-password`, "/dev/null"], {
      env: { ...process.env, LEOFLOW_HOME: paths.home, LEOFLOW_ADMIN_PASSWORD: "", TERM: "xterm" },
      stdio: ["pipe", "pipe", "inherit"],
    });
    let shown = "";
    child.stdout.on("data", (data: Buffer) => (shown += data.toString()));
    const ended = new Promise((done) => child.once("close", done));
    for (const question of ["Enter makes one", "New password again"]) {
      await until(`it asks: ${question}`, () => shown.includes(question));
      child.stdin.write("typed by hand\r");
    }
    await until("it is done", () => shown.includes("✓"));
    child.stdin.end();
    await ended;
    expect(shown).not.toContain("typed by hand");
    expect(await fits("typed by hand")).toBe(true);
  });
});
