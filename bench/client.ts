import { Agent, get } from "node:http";

/** Asking more often would take the two cores away from what is measured. */
const POLL_MS = 20;

/** The few calls of Airflow's REST API that the bench needs; works against any server that has it. */
export class Client {
  readonly #base: string;
  readonly #agent = new Agent({ keepAlive: true });
  #token: string | null = null;

  constructor(base: string) {
    this.#base = base.replace(/\/$/, "");
  }

  async login(username?: string, password?: string): Promise<void> {
    const answer =
      username === undefined
        ? await this.call("GET", "/auth/token")
        : await this.call("POST", "/auth/token", { username, password });
    this.#token = (answer as { access_token: string }).access_token;
  }

  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(this.#base + path, {
      method,
      headers: {
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(this.#token === null ? {} : { authorization: `Bearer ${this.#token}` }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 300)}`);
    return text === "" ? null : JSON.parse(text);
  }

  /** Asks for the answer as it is sent, packed, and throws it away: what a load generator does. Returns its bytes. */
  async drain(path: string): Promise<number> {
    const headers = {
      "accept-encoding": "gzip",
      ...(this.#token === null ? {} : { authorization: `Bearer ${this.#token}` }),
    };
    return await new Promise((resolve, reject) => {
      get(this.#base + path, { agent: this.#agent, headers }, (answer) => {
        let bytes = 0;
        answer.on("data", (chunk: Buffer) => (bytes += chunk.length));
        answer.on("error", reject);
        answer.on("end", () =>
          answer.statusCode === 200 ? resolve(bytes) : reject(new Error(`${answer.statusCode}`)),
        );
      }).on("error", reject);
    });
  }

  async unpause(dagId: string): Promise<void> {
    await this.call("PATCH", `/api/v2/dags/${dagId}?update_mask=is_paused`, { is_paused: false });
  }

  /** Runs the DAG once. Returns seconds from POST to the run's end as its API shows it; throws unless all succeeded. */
  async run(dagId: string, timeoutSeconds = 600): Promise<number> {
    const started = performance.now();
    const run = (await this.call("POST", `/api/v2/dags/${dagId}/dagRuns`, { logical_date: null })) as {
      dag_run_id: string;
    };
    const path = `/api/v2/dags/${dagId}/dagRuns/${encodeURIComponent(run.dag_run_id)}`;
    for (;;) {
      const { state } = (await this.call("GET", path)) as { state: string };
      const seconds = (performance.now() - started) / 1000;
      if (state === "success") return seconds;
      if (state === "failed" || seconds > timeoutSeconds) throw new Error(`${dagId}: ${state} after ${seconds} s`);
      await sleep(POLL_MS);
    }
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
