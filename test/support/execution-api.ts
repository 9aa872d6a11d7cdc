import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import Fastify, { type FastifyInstance, type InjectOptions } from "fastify";
import type { JsonText } from "../../src/kit/json-text.ts";
import { executionRoutes } from "../../src/api/execution/index.ts";
import { TaskTokens, type TokenScope } from "../../src/api/execution/tokens.ts";
import type { ExecutionConfig } from "../../src/execution/context.ts";
import { createTestExecution, type TestExecution } from "./execution.ts";
import { testPython } from "./python.ts";

export interface HttpAnswer {
  status: number;
  headers: Record<string, string | undefined>;
  text: string;
  /** Parsed; null where there is no body. */
  body: unknown;
}

export interface TestExecutionApi {
  t: TestExecution;
  app: FastifyInstance;
  tokens: TaskTokens;
  /** Sends a request below /execution: with a token of this scope of this task instance, or as it is told. */
  call(
    request: string,
    options: {
      as?: string | null;
      scope?: TokenScope;
      token?: string;
      version?: string;
      body?: unknown;
      headers?: Record<string, string>;
    },
  ): Promise<HttpAnswer>;
  close(): Promise<void>;
}

/** The Task Execution API alone, on a database of its own. Bodies that are texts are sent as they are. */
export async function createTestExecutionApi(config: Partial<ExecutionConfig> = {}): Promise<TestExecutionApi> {
  const t = await createTestExecution(config);
  const app = Fastify();
  const older = new Map<JsonText, Promise<unknown>>();
  const tokens = new TaskTokens(t.x.kit, { jwtSecret: "secret" });
  executionRoutes(app, {
    execution: t.x,
    tokens,
    olderKwargs: async (next_kwargs) => {
      const asked = older.get(next_kwargs) ?? askTestPython({ kind: "older_next_kwargs", next_kwargs });
      older.set(next_kwargs, asked);
      return (await asked) as JsonText;
    },
    openApi: async () => undefined,
  });
  await app.ready();
  return {
    t,
    app,
    tokens,
    async call(request, { as, scope = "execution", token, version, body, headers }) {
      const [method, url] = request.split(" ") as [InjectOptions["method"], string];
      const given = token ?? (as == null ? null : await tokens.issue(as, scope));
      const answer = await app.inject({
        ...{ method, url: `/execution${url}` },
        ...(body === undefined ? {} : { payload: typeof body === "string" ? body : JSON.stringify(body) }),
        headers: {
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...(given === null ? {} : { authorization: `Bearer ${given}` }),
          ...(version === undefined ? {} : { "airflow-api-version": version }),
          ...headers,
        },
      });
      return {
        status: answer.statusCode,
        headers: answer.headers as HttpAnswer["headers"],
        text: answer.body,
        body: answer.body === "" ? null : (JSON.parse(answer.body) as unknown),
      };
    },
    async close() {
      await app.close();
      await t.database.close();
    },
  };
}

const ASK =
  "import json, sys; from leoflow_runtime import requests as r; q = json.loads(sys.argv[1]);" +
  "open(sys.argv[2], 'w').write(json.dumps(r._ANSWERS[q['kind']](q)))";

/** What a child of the base zygote would answer. */
export async function askTestPython(request: { kind: string; [field: string]: unknown }): Promise<unknown> {
  const folder = mkdtempSync(join(tmpdir(), "leoflow-ask-"));
  const file = join(folder, "answer.json");
  await promisify(execFile)(testPython(), ["-c", ASK, JSON.stringify(request), file], {
    env: { ...process.env, AIRFLOW_HOME: folder, PYTHONPATH: join(import.meta.dirname, "../../python") },
  });
  const answer = JSON.parse(readFileSync(file, "utf8")) as unknown;
  rmSync(folder, { recursive: true });
  return answer;
}
