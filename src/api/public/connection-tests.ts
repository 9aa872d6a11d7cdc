import { randomBytes } from "node:crypto";
import type { Instant } from "../../kit/instant.ts";
import type { ApiContext } from "../context.ts";
import type { ConnectionFields } from "./connection-secrets.ts";

export type TestState = "running" | "success" | "failed";

export interface EnqueuedTest {
  token: string;
  connection_id: string;
  state: TestState;
  result_message: string | null;
  created_at: Instant;
  /** Whose connection it is; null: nobody's. */
  team: string | null;
}

const KEPT = 200;

/**
 * Connection tests that run beside their request; a client polls by token. They are kept in memory: a test that a restart
 * swallowed is enqueued again.
 */
export class ConnectionTests {
  readonly #context: ApiContext;
  readonly #tests = new Map<string, EnqueuedTest>();

  constructor(context: ApiContext) {
    this.#context = context;
  }

  find(token: string): EnqueuedTest | undefined {
    return this.#tests.get(token);
  }

  /** null: a test of this connection is running already. */
  enqueue(
    connectionId: string,
    connection: ConnectionFields,
    team: string | null,
    onSuccess: () => Promise<void>,
  ): EnqueuedTest | null {
    for (const other of this.#tests.values()) {
      if (other.connection_id === connectionId && other.state === "running") return null;
    }
    const test: EnqueuedTest = {
      token: randomBytes(32).toString("base64url"),
      connection_id: connectionId,
      state: "running",
      result_message: null,
      created_at: this.#context.kit.clock.now(),
      team,
    };
    this.#tests.set(test.token, test);
    for (const oldest of this.#tests.keys()) {
      if (this.#tests.size <= KEPT) break;
      this.#tests.delete(oldest);
    }
    void this.#run(test, connection, onSuccess);
    return test;
  }

  async #run(test: EnqueuedTest, connection: ConnectionFields, onSuccess: () => Promise<void>): Promise<void> {
    try {
      const { status, message } = await runConnectionTest(this.#context, connection);
      if (status) await onSuccess();
      test.result_message = message;
      test.state = status ? "success" : "failed";
    } catch (error) {
      test.result_message = error instanceof Error ? error.message : String(error);
      test.state = "failed";
    }
  }
}

/** Lets the connection's own hook try it, in Python. */
export async function runConnectionTest(
  context: ApiContext,
  connection: ConnectionFields,
): Promise<{ status: boolean; message: string }> {
  const answer = (await context.python({ kind: "test_connection", connection })) as {
    status: boolean;
    message: string;
  };
  return { status: answer.status, message: answer.message };
}
