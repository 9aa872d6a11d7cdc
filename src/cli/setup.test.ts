import { existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { runOnTerminal } from "../../test/release/pty.ts";
import { createHome } from "../../test/support/home.ts";
import { contentsOf } from "../../test/support/machine.ts";
import { bundleProgram, type BundledProgram } from "../../test/support/run-typescript.ts";
import { verifyPassword } from "../kit/password.ts";
import { runCommand, type CommandResult } from "../lite/command.ts";
import { acquireHomeLock } from "../lite/home-lock.ts";
import type { LeoflowPaths } from "../lite/paths.ts";

let program: BundledProgram;
beforeAll(async () => {
  program = await bundleProgram(join(import.meta.dirname, "../main.ts"));
});
afterAll(() => program.remove());

let paths: LeoflowPaths;
let remove: () => void;
let userHome: string;
beforeEach(() => {
  ({ paths, remove } = createHome());
  userHome = dirname(paths.home);
});
afterEach(() => remove());

const env = (more: Record<string, string | undefined> = {}) => ({
  HOME: userHome,
  LEOFLOW_HOME: undefined,
  LEOFLOW_WORKSPACE: undefined,
  LEOFLOW_LITE_PORT: undefined,
  LEOFLOW_ADMIN_PASSWORD: undefined,
  NO_COLOR: "1",
  ...more,
});
/** Through pipes: there is no terminal. */
const setup = (args: string[] = [], more: Record<string, string | undefined> = {}): Promise<CommandResult> =>
  runCommand([process.execPath, program.file, "setup", ...args], { env: env(more), cwd: userHome });
const onTerminal = (dialogue: [string, string][], args: string[] = []) =>
  runOnTerminal([process.execPath, program.file, "setup", ...args], dialogue, env());

const config = () => readFileSync(paths.config, "utf8");
const valueOf = (key: string) => new RegExp(`^${key}: (.*)$`, "m").exec(config())?.[1];
const passwordIn = (output: string) => /password: +(\w{5}-\w{5}-\w{5}-\w{5})\s/.exec(output)?.[1];

describe("elsewhere than on a terminal", () => {
  it("makes settings from defaults, shows the password once, and keeps all of it the second time", async () => {
    const first = await setup();
    expect(first.code, first.output).toBe(0);
    expect(first.stdout).toContain(
      "LEOFLOW LITE ADMIN — SAVE NOW (shown only once)\n    user:      admin@leoflow.local\n",
    );
    expect(first.stdout).toContain("open:      http://localhost:8088");
    expect(await verifyPassword(valueOf("admin_password_hash") ?? "", passwordIn(first.stdout) ?? "")).toBe(true);
    expect(valueOf("workspace")).toBe(join(userHome, "leoflow"));
    expect(statSync(join(userHome, "leoflow")).isDirectory()).toBe(true);
    expect(statSync(paths.config).mode & 0o777).toBe(0o600);
    const told = JSON.parse(readFileSync(paths.setup, "utf8")) as Record<string, unknown>;
    expect(told).toMatchObject({
      set_up_at: expect.stringMatching(/^\d{4}-.*Z$/) as string,
      leoflow_version: expect.any(String) as string,
      installed_by: expect.any(String) as string,
      settings: { workspace: join(userHome, "leoflow"), port: 8088, admin_email: "admin@leoflow.local" },
    });
    expect(readFileSync(paths.setup, "utf8")).not.toContain("secret");

    const before = contentsOf(userHome);
    const second = await setup();
    expect(second.code).toBe(0);
    expect(second.stdout).toBe("  already configured (~/.leoflow/config.yaml) — keeping your settings.\n");
    expect(contentsOf(userHome)).toEqual(before);
  });

  it("takes options, and later changes only what an option names", async () => {
    const workspace = join(userHome, "my dags");
    await setup(["--workspace", "my dags", "--port", "9000", "--email", "ada@example.com"]);
    writeFileSync(paths.config, `${config()}# mine\ntheirs: 1\n`);
    const secrets = ["admin_password_hash", "jwt_secret", "fernet_key"].map(valueOf);
    const changed = await setup(["--port", "9001"]);
    expect(changed.stdout).toContain(
      "✓ port is 9001 (was 9000)\n  already configured (~/.leoflow/config.yaml) — keeping your other",
    );
    expect(["workspace", "lite_port", "admin_email", "theirs"].map(valueOf)).toEqual([
      workspace,
      "9001",
      "ada@example.com",
      "1",
    ]);
    expect(["admin_password_hash", "jwt_secret", "fernet_key"].map(valueOf)).toEqual(secrets);
    expect(config()).toContain("# mine");
    expect(changed.stdout).not.toContain("password");
  });

  it("takes the password of the environment and does not print it", async () => {
    const { stdout } = await setup(["--yes"], { LEOFLOW_ADMIN_PASSWORD: "of my own choice" });
    expect(stdout).toContain("password:  the one in LEOFLOW_ADMIN_PASSWORD");
    expect(stdout).not.toContain("of my own choice");
    expect(await verifyPassword(valueOf("admin_password_hash") ?? "", "of my own choice")).toBe(true);
    const short = createHome();
    const refused = await setup(["--yes"], { LEOFLOW_ADMIN_PASSWORD: "short", LEOFLOW_HOME: short.paths.home });
    expect(refused).toMatchObject({
      code: 1,
      output: expect.stringContaining("LEOFLOW_ADMIN_PASSWORD is too short") as string,
    });
    expect(existsSync(short.paths.config)).toBe(false);
    short.remove();
  });

  it("writes nothing with --dry-run", async () => {
    const before = contentsOf(userHome);
    const fresh = await setup(["--dry-run", "--port", "9000"]);
    expect(fresh.stdout).toContain("would be made; nothing was written\n    workspace  ");
    expect(fresh.stdout).toContain("port       9000");
    // The command's own log is all there is of it.
    rmSync(paths.logs, { recursive: true });
    expect(contentsOf(userHome)).toEqual(before);
    await setup();
    expect((await setup(["--dry-run", "--port", "9000"])).stdout).toContain("would change: port is 9000 (was 8088)");
    expect((await setup(["--dry-run"])).stdout).toContain("nothing would change");
    expect(valueOf("lite_port")).toBe("8088");
  });

  it.each([
    [["--port", "abc"], 2, 'error: the port is "abc", not a port'],
    [["--email", "ada"], 2, 'error: "ada" is not an e-mail address'],
    [["--workspace", "~"], 2, "error: the workspace cannot be"],
    [["--workspace", "/"], 2, "error: the workspace cannot be /:"],
    [["--workspace", "~/.leoflow/managed-postgres"], 2, "error: the workspace cannot be"],
    [["--workspace", "~/file"], 1, "error: cannot read the workspace"],
  ])("refuses %j and makes nothing", async (args, code, text) => {
    writeFileSync(join(userHome, "file"), "");
    const result = await setup(args);
    expect(result.code).toBe(code);
    expect(result.output).toContain(text);
    expect(existsSync(paths.config)).toBe(false);
  });

  it("leaves a broken config.yaml as it is", async () => {
    writeFileSync(paths.config, "workspace: 'a' b\n");
    const { code, output } = await setup(["--port", "9000"]);
    expect(code).toBe(1);
    expect(output).toContain(`error: ${paths.config}, line 1, column 16`);
    expect(config()).toBe("workspace: 'a' b\n");
  });

  it("makes the settings also where nothing can be downloaded, and says so", async () => {
    rmSync(paths.venv);
    // No program of the system, and no uv: nothing can be fetched.
    mkdirSync(join(userHome, "empty"));
    const offline = {
      PATH: join(userHome, "empty"),
      HTTPS_PROXY: "http://127.0.0.1:9",
      ALL_PROXY: "http://127.0.0.1:9",
    };
    const { code, output } = await setup(["--yes"], { ...offline, UV_OFFLINE: "1" });
    expect(code).toBe(1);
    expect(passwordIn(output)).toBeDefined();
    expect(output).toContain(
      "error: the settings are made, but not all could be installed\n  fix: run `leoflow setup` again",
    );
    const again = await setup(["--no-download"], offline);
    expect(again.output).toBe("  already configured (~/.leoflow/config.yaml) — keeping your settings.\n");
  });

  it("leaves an environment that another release made to the next start", async () => {
    const venv = join(userHome, "venv-of-before");
    mkdirSync(venv);
    writeFileSync(join(venv, ".leoflow-deps"), '{"lock":"sha256:other"}');
    rmSync(paths.venv);
    symlinkSync(venv, paths.venv);
    expect((await setup()).code).toBe(0);
    expect(contentsOf(venv)).toEqual({
      "": expect.any(String) as string,
      ".leoflow-deps": expect.any(String) as string,
    });
  });

  it("changes settings beside a Leoflow that runs, and says to restart it", async () => {
    await setup();
    const held = await acquireHomeLock(paths.lock);
    const changed = await setup(["--port", "9009"]);
    expect(changed.output).toContain(
      `Leoflow runs (process ${process.pid}) with its old settings; restart it to use these`,
    );
    expect(valueOf("lite_port")).toBe("9009");
    rmSync(paths.config);
    const early = await setup();
    expect(early).toMatchObject({
      code: 1,
      output: expect.stringContaining("Leoflow is starting here for the first time") as string,
    });
    if ("lock" in held) held.lock.release();
  });
});

describe("on a terminal", () => {
  it("asks for what no option has decided, again where an answer is wrong", async () => {
    const { code, output } = await onTerminal(
      [
        [`Folder for your DAGs [${join(userHome, "leoflow")}]: `, "~\r"],
        ["choose a folder for your DAGs alone", "~/dags\r"],
        ["Port of the web interface [8088]: ", "http\r"],
        ["use a whole number from 1 to 65535", "8090\r"],
      ],
      ["--email", "ada@example.com"],
    );
    expect(code, output).toBe(0);
    expect(["workspace", "lite_port", "admin_email"].map(valueOf)).toEqual([
      join(userHome, "dags"),
      "8090",
      "ada@example.com",
    ]);
    expect(output).not.toContain("Admin's e-mail");
    expect(await verifyPassword(valueOf("admin_password_hash") ?? "", passwordIn(output) ?? "")).toBe(true);

    const again = await onTerminal([]);
    expect(again.output).toContain("already configured (~/.leoflow/config.yaml) — keeping your settings.");
    expect(again.output).not.toContain("Folder for your DAGs");
  });

  it("takes Enter for what is in brackets, which is what config.yaml says where there is one", async () => {
    writeFileSync(paths.config, "lite_port: 8123\n");
    const { code, output } = await onTerminal([
      ["Folder for your DAGs", "\r"],
      ["Port of the web interface [8123]: ", "\r"],
      ["Admin's e-mail (the login) [admin@leoflow.local]: ", "\r"],
    ]);
    expect(code, output).toBe(0);
    expect(valueOf("lite_port")).toBe("8123");
    expect(valueOf("workspace")).toBe(join(userHome, "leoflow"));
  });

  it.each([
    ["Ctrl-D", "\u0004", 1, "error: setup was called off"],
    ["Ctrl-C", "\u0003", 130, ""],
  ])("makes nothing after %s", async (_name, key, code, text) => {
    const result = await onTerminal([
      ["Folder for your DAGs", "\r"],
      ["Port of the web interface", key],
    ]);
    expect(result.code).toBe(code);
    expect(result.output).toContain(text);
    expect(existsSync(paths.config)).toBe(false);
  });
});
