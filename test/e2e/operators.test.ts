import { cpSync, existsSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createServer as createTcpServer, type AddressInfo, type Server as TcpServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { Client } from "../../bench/client.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { createLiteHome, logOf, runDag, xcomOf, type FinishedRun, type LiteHome } from "../support/lite.ts";

/** Everything a mail server was told, one text for each message. */
interface MailServer {
  server: TcpServer;
  messages: string[];
}

/** As much of SMTP as a client that neither encrypts nor signs in needs. */
function mailServer(): MailServer {
  const messages: string[] = [];
  const server = createTcpServer((socket) => {
    let message: string | null = null;
    let rest = "";
    socket.write("220 loopback ESMTP\r\n");
    socket.on("error", () => undefined);
    socket.on("data", (data) => {
      const lines = (rest + data.toString()).split("\r\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (message !== null && line !== ".") {
          message += `${line}\n`;
          continue;
        }
        if (message !== null) messages.push(message);
        message = /^DATA/i.test(line) && message === null ? "" : null;
        socket.write(message === "" ? "354 go on\r\n" : /^QUIT/i.test(line) ? "221 bye\r\n" : "250 ok\r\n");
      }
    });
  });
  return { server, messages };
}

const asked: string[] = [];
function webServer(): Server {
  return createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.setHeader("content-type", "application/json");
    if (request.url === "/missing") response.statusCode = 404;
    response.end(JSON.stringify(request.url === "/health" ? { ok: true } : { path: request.url }));
  });
}

async function listening(server: Server | TcpServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

const web = webServer();
const mail = mailServer();
let database: TestDatabase;
let home: LiteHome;
let client: Client;

beforeAll(async () => {
  database = await createTestDatabase();
  home = await createLiteHome();
  cpSync(join(import.meta.dirname, "operators"), join(home.workspace, "operators"), { recursive: true });
  ({ client } = await home.start());
  const { host, port, user, password } = inject("postgres");
  const connections = [
    { connection_id: "lite_db", conn_type: "sqlite", host: join(home.workspace, "story.sqlite") },
    { connection_id: "pg_db", conn_type: "postgres", host, port, login: user, password, schema: database.name },
    { connection_id: "api", conn_type: "http", host: "127.0.0.1", port: await listening(web) },
    {
      connection_id: "mail",
      conn_type: "smtp",
      host: "127.0.0.1",
      port: await listening(mail.server),
      extra: '{"disable_ssl": true, "disable_tls": true}',
    },
  ];
  for (const connection of connections) await client.call("POST", "/api/v2/connections", connection);
  await client.call("POST", "/api/v2/variables", { key: "region", value: "eu-west-1" });
}, 60_000);
afterAll(async () => {
  web.close();
  mail.server.close();
  await home.remove();
  await database.close();
});

const statesOf = ({ taskInstances }: FinishedRun) =>
  Object.fromEntries(taskInstances.map(({ task_id: id, state }) => [id, state]));

describe("operators through their own ways", { timeout: 240_000 }, () => {
  it("run in other interpreters", async () => {
    const run = await runDag(client, "interpreters", {}, 200);
    expect(statesOf(run)).toEqual({
      virtualenv: "success",
      external: "success",
      branch: "success",
      chosen: "success",
      other: "skipped",
      bash: "success",
      with_airflow: "success",
      classic_external: "success",
      skips: "skipped",
      fails: "failed",
    });
    expect(await xcomOf(client, "interpreters", run.runId, "external")).toBe("external saw 'a  1'");
    expect(await xcomOf(client, "interpreters", run.runId, "bash")).toBe("hello interpreters");
    expect(await xcomOf(client, "interpreters", run.runId, "classic_external")).toMatchObject({ sum: 2 });
    expect(await logOf(client, "interpreters", run.runId, "virtualenv")).toContain("made a venv");
    expect(await logOf(client, "interpreters", run.runId, "with_airflow")).toContain("counting in");
    expect(await logOf(client, "interpreters", run.runId, "fails")).toContain("about to fail");
  });

  it.each(["sqlite_story", "postgres_story"])("query a database: %s", async (dagId) => {
    const run = await runDag(client, dagId);
    expect(new Set(Object.values(statesOf(run)))).toEqual(new Set(["success"]));
    // Tuples, as Airflow shows them.
    expect(await xcomOf(client, dagId, run.runId, "select")).toEqual(["(1,one)", "(2,two)", "(3,three)"]);
    expect(await xcomOf(client, dagId, run.runId, "through_hook")).toBe(6);
    if (dagId === "sqlite_story") expect(existsSync(join(home.workspace, "story.sqlite"))).toBe(true);
  });

  it("call a web server, also deferred", async () => {
    const run = await runDag(client, "http_story");
    expect(statesOf(run)).toEqual({ up: "success", get: "success", deferred: "success", missing: "failed" });
    expect(await xcomOf(client, "http_story", run.runId, "get")).toEqual({ path: "/items/7?q=a+b" });
    expect(await xcomOf(client, "http_story", run.runId, "deferred")).toEqual({ path: "/slow" });
    expect(await logOf(client, "http_story", run.runId, "missing")).toContain("404");
    expect(asked).toContain("GET /slow");
  });

  it("send mail, as tasks and as notifiers", async () => {
    const run = await runDag(client, "mail_story");
    expect(statesOf(run)).toEqual({ send: "success", notifies: "failed" });
    const sent = mail.messages.join("\n");
    expect(sent).toContain(`Subject: Run ${run.runId}`);
    expect(sent).toContain(Buffer.from("<b>eu-west-1</b>").toString("base64"));
    expect(sent).toContain("Subject: notifies failed");
  });
});
