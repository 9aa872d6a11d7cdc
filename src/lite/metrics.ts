import { createServer, type Server } from "node:http";
import { collectDefaultMetrics, Gauge, Registry } from "prom-client";
import type { Kit, Service } from "../kit/service.ts";

/** On the loopback address only. */
export const METRICS_PORT = 9098;

export interface MetricsSource {
  scheduler(): { runs: number; waiting: number };
  executor(): { queued: number; running: number };
  agents(): { sessions: number; waiting: number; running: number };
}

/** Prometheus metrics on their own loopback port, away from the API and its login. */
export class MetricsServer implements Service {
  readonly #kit: Kit;
  readonly #port: number;
  readonly #registry = new Registry();
  #server: Server | undefined;

  constructor(kit: Kit, source: MetricsSource, port: number) {
    this.#kit = kit;
    this.#port = port;
    collectDefaultMetrics({ register: this.#registry, prefix: "leoflow_" });
    this.#gauge("leoflow_live_dag_runs", "Queued and running DAG runs.", () => source.scheduler().runs);
    this.#gauge("leoflow_waiting_task_instances", "Ready for a slot.", () => source.scheduler().waiting);
    this.#gauge("leoflow_executor_queued", "Handed to the executor.", () => source.executor().queued);
    this.#gauge("leoflow_executor_running", "Running processes.", () => source.executor().running);
    this.#gauge("leoflow_agents", "Agents that are connected.", () => source.agents().sessions);
    this.#gauge("leoflow_agents_waiting", "Agents that wait for work here.", () => source.agents().waiting);
    this.#gauge("leoflow_agents_running", "Task instances that agents have.", () => source.agents().running);
  }

  /** A taken port costs the metrics, not the start. */
  async start(): Promise<void> {
    const server = createServer((request, response) => {
      if (request.url !== "/metrics") {
        response.writeHead(404).end();
        return;
      }
      this.#registry.metrics().then(
        (text) => response.writeHead(200, { "content-type": this.#registry.contentType }).end(text),
        () => response.writeHead(500).end(),
      );
    });
    await new Promise<void>((resolve) => {
      server.once("error", (error) => {
        this.#kit.logger.warn({ err: error }, `metrics are off: port ${this.#port} on 127.0.0.1 cannot be used`);
        resolve();
      });
      server.listen(this.#port, "127.0.0.1", () => {
        this.#server = server;
        resolve();
      });
    });
  }

  async stop(): Promise<void> {
    this.#server?.closeAllConnections();
    await new Promise<void>((resolve) => (this.#server ? this.#server.close(() => resolve()) : resolve()));
    this.#server = undefined;
    this.#registry.clear();
  }

  #gauge(name: string, help: string, read: () => number): void {
    new Gauge({
      name,
      help,
      registers: [this.#registry],
      collect() {
        this.set(read());
      },
    });
  }
}
