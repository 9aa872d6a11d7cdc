import { readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCommand } from "../../src/lite/command.ts";
import { Cli, leoflowBin } from "../support/cli.ts";
import { ADMIN, createLiteHome, PASSWORD, waitForDag, type Lite, type LiteHome } from "../support/lite.ts";

let home: LiteHome;
let lite: Lite;
let cli: Cli;
let token: string;

beforeAll(async () => {
  home = await createLiteHome();
  lite = await home.start();
  cli = new Cli(home, lite);
  token = await cli.token();
  const dag =
    "from airflow.sdk import dag, task\n\n@dag(schedule=None)\ndef shop():\n    @task\n    def sell(): ...\n    sell()\nshop()\n";
  writeFileSync(join(home.workspace, "shop.py"), dag);
  await waitForDag(lite.client, "shop");
});
afterAll(() => home.remove());

describe("connections, variables and pools", () => {
  it("sets connections without touching what is not given, and prints no secret", async () => {
    await Promise.all([
      cli.refuses("connections set db --host h", 2, "a new one needs its type"),
      cli.refuses("connections set db", 2, "nothing to set"),
    ]);
    const all = "--conn-type postgres --description d --host h --login l --password geheim --schema s --port 5432";
    expect(await cli.good(`connections set db ${all} --extra '{"sslmode": "require", "api_key": "geheim"}'`)).toBe(
      "Connection db is made\n",
    );
    expect(await cli.good("connections set db --password-stdin --port ''", { input: "anders\n" })).toBe(
      "Connection db is set\n",
    );
    const extra = join(cli.files, "extra.json");
    writeFileSync(extra, '{"a": 1}');
    const got = await cli.json(`connections set db --extra-file ${extra} --json`);
    expect(got).toMatchObject({ conn_type: "postgres", host: "h", login: "l", port: null, password: "***" });
    expect(got).toMatchObject({ extra: '{"a": 1}' });
    await cli.good("connections set db --uri 'mysql://u@other/x'");
    expect(await cli.json("connections get db --json")).toMatchObject({
      conn_type: "mysql",
      host: "other",
      login: "u",
      schema: "x",
    });
    await cli.good("connections set api --uri-stdin", { input: "http://me:geheim%2F@host:81/?k=v\n" });
    const printed = await cli.good("connections get api");
    expect(printed).toMatch(/^port +81$/m);
    expect(printed + (await cli.good("connections list"))).not.toContain("geheim");
    expect(await cli.good("connections list --pattern ap --limit 0")).toMatch(/^api {2,}http {2,}host {2,}81 /m);
    expect(await cli.json("connections list --json")).toMatchObject({ connections: expect.any(Array) as [] });
    expect(JSON.parse((await cli.leoflow("connections test db --json")).out)).toHaveProperty("status");
    await Promise.all([
      cli.refuses("connections test nobody", 1, "nobody"),
      cli.refuses("connections set db --port x", 2, '--port is "x"'),
      cli.refuses("connections set db --extra nonsense", 2, "--extra is not JSON"),
      cli.refuses("connections set db --uri nonsense", 2, "the URI is not TYPE://"),
      cli.refuses("connections set db --password a --password-stdin", 2, "exclude each other"),
      cli.refuses("connections set db --uri-stdin --password-stdin", 2, "both read stdin"),
    ]);

    const file = join(cli.files, "connections.json");
    const { out, err } = await cli.leoflow("connections export");
    expect(JSON.parse(out)).toMatchObject({ api: { conn_type: "http", host: "host", port: 81 } });
    expect(err).toContain("the server tells no secrets, so these are not in it: ");
    expect(await cli.good(`connections export ${file}`)).toMatch(/^Exported \d+ connections to /);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(await cli.good("connections export --format env")).toMatch(/^api=http:\/\/me@host:81\/\?k=v$/m);
    await cli.refuses(`connections import ${file}`, 1, "already exist");
    expect(await cli.good(`connections import ${file} --on-existing skip`)).toMatch(
      /^Imported 0 connections, \d+ skipped/,
    );
    expect(await cli.json(`connections import ${file} --on-existing overwrite --json`)).toMatchObject({ errors: [] });
    expect(await cli.good("connections delete api db")).toBe("Deleted api, db\n");
    await cli.refuses("connections delete api", 1, "api");
    const env = 'one=postgres://a:b@c:1/d\n# no\ntwo={"conn_type": "http", "extra": {"a": 1}}\n';
    expect(await cli.good("connections import - --format env", { input: env })).toBe("Imported 2 connections\n");
    await Promise.all([
      cli.refuses("connections import - --format json", 1, "does not know typ", { input: '{"x": {"typ": 1}}' }),
      cli.refuses("connections import -", 2, "stdin does not say its format", { input: "" }),
    ]);
    await cli.good("connections delete one two");
  });

  it("sets variables, and carries them over as they are", async () => {
    expect(await cli.good("variables set bucket s3://x --description where")).toBe("Variable bucket is made\n");
    expect(await cli.good("variables set bucket --value-file -", { input: "s3://y\n" })).toBe(
      "Variable bucket is set\n",
    );
    expect(await cli.json("variables set bucket --description there --json")).toMatchObject({ value: "s3://y" });
    expect(await cli.good("variables get bucket")).toBe("s3://y\n");
    await cli.good("variables set a/b_password geheim");
    expect(await cli.good("variables get a/b_password")).toBe("***\n");
    expect(await cli.json("variables get bucket --json")).toMatchObject({ key: "bucket", description: "there" });
    expect(await cli.good("variables list --pattern buck --limit 0")).toMatch(/^bucket {2,}s3:\/\/y {2,}there$/m);
    expect(await cli.json("variables list --json")).toMatchObject({ variables: expect.any(Array) as [] });
    const file = join(cli.files, "variables.json");
    writeFileSync(file, '{"j": {"x": 1.0, "big": 12345678901234567890}, "v": {"value": 5, "description": "five"}}');
    expect(await cli.good(`variables import ${file}`)).toBe("Imported 2 variables\n");
    const { out, err } = await cli.leoflow("variables export");
    expect(out).toContain('"x": 1.0,\n        "big": 12345678901234567890');
    expect(out).toContain('"v": {\n        "value": 5,\n        "description": "five"');
    expect(err).toBe("note: the server tells no secrets, so these are not in it: a/b_password\n");
    expect((await cli.leoflow("variables export --format yaml")).out).toContain(
      "j:\n  x: 1.0\n  big: 12345678901234567890\n",
    );
    expect((await cli.leoflow("variables export --format env")).out).toMatch(/^v=5$/m);
    expect((await cli.leoflow(`variables export ${file}`)).code).toBe(0);
    await cli.refuses(`variables import ${file} --on-existing fail`, 1, "already exist");
    expect(await cli.json(`variables import ${file} --on-existing skip --json`)).toEqual({ success: [], errors: [] });
    await Promise.all([
      cli.refuses("variables import - --format yaml", 1, "stdin: line 1, column", { input: "a: [" }),
      cli.refuses("variables import - --format toml", 2, '--format is "toml"', { input: "" }),
      cli.refuses("variables set nobody --description x", 2, "there is no variable nobody yet"),
      cli.refuses("variables set bucket", 2, "nothing to set"),
      cli.refuses("variables get nobody", 1, "nobody"),
    ]);
    expect(await cli.good("variables delete bucket j v a/b_password")).toContain("Deleted ");
  });

  it("sets pools, and carries them over", async () => {
    expect(await cli.good("pools set etl 5 --description many --include-deferred")).toBe("Pool etl is made, 5 slots\n");
    expect(await cli.good("pools set etl -1")).toBe("Pool etl is set, no limit\n");
    expect(await cli.json("pools set etl 7 --no-include-deferred --json")).toMatchObject({
      slots: 7,
      description: "many",
      include_deferred: false,
    });
    expect(await cli.good("pools get etl")).toMatch(/^slots +7$/m);
    expect(await cli.json("pools get etl --json")).toMatchObject({ open_slots: 7 });
    expect(await cli.good("pools list --limit 0")).toMatch(/^etl {2,}7 {2,}7 /m);
    expect(await cli.json("pools list --json")).toMatchObject({ total_entries: expect.any(Number) as number });
    const file = join(cli.files, "pools.yaml");
    expect(await cli.good(`pools export ${file}`)).toMatch(/^Exported \d+ pools/);
    expect(readFileSync(file, "utf8")).toContain("etl:\n  slots: 7\n");
    expect(JSON.parse(await cli.good("pools export --format json"))).toMatchObject({ etl: { slots: 7 } });
    expect(await cli.good(`pools import ${file} --format yaml --on-existing overwrite`)).toMatch(
      /^Imported \d+ pools\n$/,
    );
    expect(await cli.json(`pools import ${file} --on-existing skip --json`)).toMatchObject({ success: [] });
    await Promise.all([
      cli.refuses("pools import - --format json", 1, "a needs slots", { input: '{"a": {"slots": "x"}}' }),
      cli.refuses("pools set etl many", 2, 'the number of slots is "many"'),
    ]);
    expect(await cli.good("pools delete etl")).toBe("Deleted etl\n");
    await Promise.all([
      cli.refuses("pools delete etl", 1, "etl"),
      cli.refuses("pools delete default_pool", 1, "Default Pool"),
    ]);
  });
});

describe("which server is meant", () => {
  it("goes from option over environment and config.yaml to this home's own", async () => {
    const other = join(cli.files, "second-home");
    const env = { LEOFLOW_HOME: other };
    await cli.refuses("health", 1, "Leoflow is not running", { env });
    await cli.good(`auth login --server ${lite.base} --username ${ADMIN} --password-stdin`, { input: PASSWORD, env });
    const config = join(other, "config.yaml");
    writeFileSync(config, `# mine\n${readFileSync(config, "utf8")}`);
    expect(await cli.good("health", { env })).toMatch(/^scheduler {2,}healthy /m);
    expect(await cli.good("dags show shop", { env })).toContain("shop");
    await cli.refuses(
      "dags show shop",
      1,
      "nothing listens at http://127.0.0.1:1\n  fix: look at the address (LEOFLOW_SERVER)",
      { env: { ...env, LEOFLOW_SERVER: "http://127.0.0.1:1" } },
    );
    expect(
      await cli.good("dags show shop", { env: { ...env, LEOFLOW_SERVER_URL: lite.base, LEOFLOW_TOKEN: token } }),
    ).toContain("shop");
    await cli.refuses(
      "dags show shop",
      1,
      `${lite.base} does not take the token of LEOFLOW_TOKEN: Invalid JWT token\n  fix: \`leoflow auth login --server ${lite.base}\``,
      { env: { ...env, LEOFLOW_TOKEN: "x" } },
    );
    const named = lite.base.replace("127.0.0.1", "localhost");
    await cli.refuses(
      `dags list --server ${named}`,
      1,
      `${named} wants a user, and there is no token for it; the token in config.yaml is for ${lite.base}\n  fix: \`leoflow auth login`,
      { env },
    );
    expect(await cli.good("auth logout", { env })).toBe(`Signed out of ${lite.base}\n`);
    expect(readFileSync(config, "utf8")).toMatch(/^# mine\n/);
    expect(readFileSync(config, "utf8")).not.toMatch(/token|server_url/);
    expect(await cli.good("auth logout", { env })).toBe("Nobody is signed in\n");
    await cli.refuses(
      `auth create-token --server ${lite.base} --username ${ADMIN} --password-stdin`,
      1,
      `does not know ${ADMIN} with this password`,
      { input: "no" },
    );
    const credentials = { LEOFLOW_USERNAME: ADMIN, LEOFLOW_PASSWORD: PASSWORD };
    expect(await cli.good(`auth create-token --server ${lite.base}`, { env: credentials })).toMatch(/^[\w.-]+\n$/);
    await cli.refuses("auth login", 2, "no user given");
  });

  it("says in one line what is wrong with an address", async () => {
    const web = createServer((_request, response) => void response.setHeader("content-type", "text/html").end("<p>"));
    const deaf = createTcpServer((socket) => socket.end("SSH-2.0\r\n"));
    const [webUrl, deafUrl] = await Promise.all([listen(web), listen(deaf)]);
    try {
      await Promise.all([
        cli.refuses(
          `dags list --server ${webUrl}`,
          1,
          `${webUrl} is no Leoflow: it answered GET /api/v2/dags with 200 and text/html`,
        ),
        cli.refuses(`dags list --server ${deafUrl}`, 1, `${deafUrl} does not speak HTTP`),
        cli.refuses("dags list --server nonsense", 2, '--server is "nonsense", not a server\'s address'),
        cli.refuses("dags list --server ftp://x", 2, "not a server's address"),
        cli.refuses("dags list --server http://no-such-host.invalid", 1, "no-such-host.invalid"),
      ]);
    } finally {
      web.close();
      deaf.close();
    }
  });
});

it("shows this home's settings and where they come from, and its database", async () => {
  const shown = await cli.json<{ settings: { name: string; value: unknown; source: string }[] }>(
    "config show --workspace /w --port 9 --host 0.0.0.0 --server http://s --token geheim --json",
  );
  const of = (name: string) => shown.settings.find((setting) => setting.name === name);
  expect(of("lite_port")).toEqual({ name: "lite_port", value: 9, source: "--port" });
  expect(of("token")).toMatchObject({ value: "***", source: "--token" });
  expect(of("jwt_secret")).toMatchObject({ value: "***", source: "config.yaml" });
  expect(await cli.good("config show", { env: { LEOFLOW_LITE_PORT: "77" } })).toMatch(
    /^lite_port {2,}77 {2,}LEOFLOW_LITE_PORT$/m,
  );
  await cli.refuses("config show --port x", 2, "--port");
  expect(await cli.json("db status --json")).toMatchObject({ status: "current" });
  await Promise.all([
    cli.refuses("db migrate", 1, "Leoflow Lite runs on"),
    cli.refuses("db migrate --no-snapshot --json", 1, "Leoflow Lite runs on"),
    cli.refuses("db reset", 2, "refusing to reset without --yes (this drops the database of this home)"),
    cli.refuses("db reset --yes", 1, "Leoflow Lite runs on"),
  ]);
  expect(await cli.json("health --json")).toMatchObject({ scheduler: { status: "healthy" } });
});

it("resets the database of a stopped Lite, and keeps what was there", async () => {
  const other = await createLiteHome();
  try {
    const first = await other.start();
    await first.client.call("POST", "/api/v2/variables", { key: "kept", value: "x" });
    await first.stop();
    const env = { LEOFLOW_HOME: other.home };
    expect(await cli.good("db migrate", { env })).toContain("Nothing to do: the database is at schema version");
    const [, snapshot = ""] = /restore -i (\S+) --force/.exec(await cli.good("db reset --yes", { env })) ?? [];
    expect(statSync(snapshot).size).toBeGreaterThan(1000);
    const second = await other.start();
    expect(await second.client.call("GET", "/api/v2/variables")).toMatchObject({ total_entries: 0 });
  } finally {
    await other.remove();
  }
});

it("completes commands, options, choices and DAGs in bash", async () => {
  const script = await cli.good("completion bash");
  const file = join(cli.files, "completion.bash");
  const tries = [
    "leoflow da",
    "leoflow dags list --st",
    "leoflow runs list --state f",
    "leoflow tasks mark ",
    "leoflow dags show sho",
  ];
  const lines = tries.map(
    (line) =>
      `complete_line ${line
        .split(" ")
        .map((word) => `'${word}'`)
        .join(" ")}`,
  );
  writeFileSync(
    file,
    `${script}
cli.leoflow() { ${process.execPath} ${leoflowBin} "$@"; }
command() { "$@"; }
complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _leoflow; echo "\${COMPREPLY[*]}"; }
${lines.join("\n")}
`,
  );
  const { stdout, code, output } = await runCommand(["bash", file], { env: { LEOFLOW_HOME: home.home } });
  expect(code, output).toBe(0);
  const [commands, options, choices, states] = stdout.split("\n");
  expect(commands).toBe("dags");
  expect(options).toBe("--state --stale");
  expect(choices).toBe("failed");
  expect(states).toBe("success failed skipped");
  expect(await cli.good("completion dags sho")).toMatch(/^(shop\n)?$/);
  expect(await cli.good("completion dags", { env: { LEOFLOW_SERVER: "http://127.0.0.1:1" } })).toBe("");
});

it.each([
  ["zsh", ["-f", "-c", 'compdef() { :; }; source "$0"; [[ -n $functions[_leoflow] ]] && echo dags']],
  ["fish", ["--no-config", "-c", "source $argv[1]; complete -C 'leoflow da'"]],
])("loads the completion of %s, where there is one", async (shell, words) => {
  const file = join(cli.files, `completion.${shell}`);
  writeFileSync(file, await (shell === "zsh" ? cli.good("completion zsh") : cli.good("completion fish")));
  const { code, stdout, output } = await runCommand([shell, ...words, file], { env: { LEOFLOW_HOME: home.home } });
  if (code === null) return;
  expect(stdout.trim(), output).toBe("dags");
});

function listen(server: Server | ReturnType<typeof createTcpServer>): Promise<string> {
  return new Promise((done) =>
    server.listen(0, "127.0.0.1", () => done(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)),
  );
}
