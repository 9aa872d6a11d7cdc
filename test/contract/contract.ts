import { readOperations, type Operation } from "./openapi.ts";

export interface Answer {
  status: number;
  body: unknown;
  faults: string[];
}

export interface Call {
  /** For the path's parameters; what is not named here comes from `known`. */
  path?: Record<string, string | number>;
  query?: Record<string, string | number | boolean | readonly string[]>;
  body?: unknown;
  headers?: Record<string, string>;
}

/** Calls a server and holds each answer against Airflow's OpenAPI documents. */
export class Contract {
  readonly operations: readonly Operation[] = readOperations();
  /** The operations that were answered with a success. */
  readonly succeeded = new Set<string>();
  /** Values for the parameters of paths. */
  readonly known: Record<string, string | number> = {};
  readonly #base: string;
  readonly token: string;
  readonly #byName = new Map(this.operations.map((operation) => [operation.name, operation]));

  constructor(base: string, token: string) {
    this.#base = base;
    this.token = token;
  }

  /** `operation` is a method and a path as the OpenAPI document writes it. */
  async ask(operation: string, { path = {}, query = {}, body, headers = {} }: Call = {}): Promise<Answer> {
    const found = this.#byName.get(operation);
    if (!found) throw new Error(`Airflow has no ${operation}`);
    const url = new URL(this.path(found, path), this.#base);
    for (const [name, value] of Object.entries(query)) {
      if (!found.parameters.some((parameter) => parameter.name === name)) throw new Error(`${operation}: no ${name}`);
      for (const item of Array.isArray(value) ? (value as string[]) : [value])
        url.searchParams.append(name, String(item));
    }
    return await this.send(found, url, { ...headers }, body === undefined ? undefined : JSON.stringify(body));
  }

  path(operation: Operation, given: Record<string, string | number>): string {
    return operation.path.replace(/\{(\w+)\}/g, (_, name: string) => {
      const value = given[name] ?? this.known[name];
      if (value === undefined) throw new Error(`${operation.name}: nothing known for ${name}`);
      return encodeURIComponent(String(value));
    });
  }

  async send(operation: Operation, url: URL, headers: Record<string, string>, body?: string): Promise<Answer> {
    const response = await fetch(url, {
      method: operation.method,
      redirect: "manual",
      headers: {
        accept: "application/json",
        authorization: `Bearer ${this.token}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body }),
    });
    const text = await response.text();
    const type = response.headers.get("content-type") ?? "";
    const read: unknown = type.startsWith("application/json") ? JSON.parse(text) : text;
    if (response.ok || response.status === 307) this.succeeded.add(operation.name);
    return { status: response.status, body: read, faults: operation.faults(response.status, type, read) };
  }
}
