import type { IncomingMessage } from "node:http";
import { text as textOf } from "node:stream/consumers";
import { adminToken } from "../../api/auth/admin-token.ts";
import { systemClock } from "../../kit/clock.ts";
import { instantMs } from "../../kit/instant.ts";
import type { Environment } from "../../kit/config.ts";
import { UserError } from "../../kit/user-error.ts";
import { readServerSettings, type ServerSettings } from "../../lite/config-glance.ts";
import { findLockHolder } from "../../lite/home-lock.ts";
import type { LeoflowPaths } from "../../lite/paths.ts";
import { httpRequest } from "./http.ts";
import { isHalfOver, renewToken } from "./renew-token.ts";

/** What every command that talks to a server takes. */
export interface ServerOptions {
  server?: string;
  token?: string;
}

/** Fits CommandContext. */
export interface Caller {
  environment: Environment;
  paths: LeoflowPaths;
  signal: AbortSignal;
}

export type QueryValue = string | number | boolean | undefined | readonly string[];
export type Query = Readonly<Record<string, QueryValue>>;

/** An answer that is not a success. `detail` is what the server said, as one line. */
export class ServerAnswer extends UserError {
  readonly status: number;
  readonly detail: string;

  constructor(status: number, detail: string, options: { fix?: string } = {}) {
    super(detail, options);
    this.status = status;
    this.detail = detail;
  }
}

/** Where a command's requests go, and in whose name. */
interface Place {
  url: URL;
  /** What the error calls the address's source. */
  said: string;
  /** Asked for each request: one that this process signs is short-lived. */
  token: () => string | undefined;
  /** What the error calls the token's source; undefined where there is none. */
  tokenFrom: string | undefined;
  /** config.yaml's server_url. */
  saved: string | undefined;
}

const SAVED = "the token in config.yaml";
const ANSWER_LIMIT_MS = 30_000;
const OWN_TOKEN_SECONDS = 60;
/** Airflow's servers answer no more at a time. */
const PAGE = 100;

/** A path below the server's address with each value encoded: apiPath`/api/v2/dags/${id}`. */
export function apiPath(texts: TemplateStringsArray, ...values: (string | number)[]): string {
  return String.raw({ raw: texts }, ...values.map((value) => encodeURIComponent(String(value))));
}

/** A JSON object of `fields`, with `texts` as they are: JSON.parse would turn 1.0 into 1. */
export function jsonWith(fields: Readonly<Record<string, unknown>>, texts: Readonly<Record<string, string>>): string {
  const members = Object.entries(fields)
    .filter(([name, value]) => value !== undefined && !(name in texts))
    .map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  return `{${[...members, ...Object.entries(texts).map(([name, text]) => `${JSON.stringify(name)}:${text}`)].join(",")}}`;
}

/** The REST API of one Leoflow. Its methods throw ServerAnswer for an answer that is no success, UserError for none at all. */
export class Server {
  readonly #place: Place;
  readonly #signal: AbortSignal;
  readonly #limitMs: number;

  constructor(place: Place, signal: AbortSignal, limitMs = ANSWER_LIMIT_MS) {
    this.#place = place;
    this.#signal = signal;
    this.#limitMs = limitMs;
  }

  /** Without a slash at its end. */
  get url(): string {
    return this.#place.url.href.replace(/\/$/, "");
  }

  async get<T>(path: string, query: Query = {}): Promise<T> {
    return await this.send("GET", path, { query });
  }

  /** `body` is sent as JSON; a text is JSON already, bytes are gzip. Returns null for an empty answer. */
  async send<T>(
    method: string,
    path: string,
    { query = {}, body }: { query?: Query; body?: unknown } = {},
  ): Promise<T> {
    const limit = AbortSignal.timeout(this.#limitMs);
    const response = await this.#ask(method, path, { query, body, signal: AbortSignal.any([this.#signal, limit]) });
    const { statusCode: status = 0, headers } = response;
    const text = await textOf(response).catch((error: unknown) => {
      throw this.#noAnswer(error);
    });
    const isOk = status >= 200 && status < 300;
    if (isOk && text === "") return null as T;
    const answer = parse(text);
    const isJson = answer !== undefined && (headers["content-type"] ?? "").includes("json");
    if (!isJson) throw this.#notOurs(method, path, response);
    if (isOk) return answer as T;
    throw this.#refusal(status, answer);
  }

  /** The lines of an answer that is JSON by line, as they come, until `until` is aborted. With a body it is a POST. */
  async *lines(
    path: string,
    query: Query = {},
    { until = this.#signal, body }: { until?: AbortSignal; body?: unknown } = {},
  ): AsyncGenerator<unknown> {
    const signal = AbortSignal.any([this.#signal, until]);
    const method = body === undefined ? "GET" : "POST";
    const response = await this.#ask(method, path, { query, body, signal, accept: "application/x-ndjson" });
    if (response.statusCode !== 200) throw this.#refusal(response.statusCode ?? 0, parse(await textOf(response)));
    let rest = "";
    try {
      for await (const chunk of response.setEncoding("utf8")) {
        const lines = (rest + String(chunk)).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) if (line !== "") yield parse(line);
      }
    } catch (error) {
      throw this.#noAnswer(error);
    }
    if (rest !== "") yield parse(rest);
  }

  /** A collection's rows, page after page, at most `most` of them, and how many there are in all. `key` names them in the answer. */
  async list<T>(path: string, key: string, query: Query, most: number): Promise<{ rows: T[]; total: number }> {
    const rows: T[] = [];
    for (;;) {
      const limit = Math.min(PAGE, most - rows.length);
      const answer = await this.get<Record<string, unknown> | null>(path, { ...query, limit, offset: rows.length });
      const page = answer?.[key];
      if (!Array.isArray(page)) throw this.#notOurs("GET", path, undefined);
      rows.push(...(page as T[]));
      const total = Number(answer?.["total_entries"] ?? rows.length);
      if (page.length === 0 || rows.length >= Math.min(total, most)) return { rows, total };
    }
  }

  #ask(
    method: string,
    path: string,
    { query, body, signal, accept }: { query: Query; body?: unknown; signal: AbortSignal; accept?: string },
  ): Promise<IncomingMessage> {
    const token = this.#place.token();
    const url = new URL(this.url + path);
    for (const [name, value] of Object.entries(query)) {
      const values = Array.isArray(value) ? (value as readonly string[]) : [value as string | undefined];
      for (const each of values) if (each !== undefined) url.searchParams.append(name, String(each));
    }
    const headers: Record<string, string> = { accept: accept ?? "application/json" };
    if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
    const isPacked = body instanceof Uint8Array;
    if (body !== undefined) headers["content-type"] = isPacked ? "application/gzip" : "application/json";
    const isWritten = body === undefined || typeof body === "string" || isPacked;
    const content = isWritten ? body : JSON.stringify(body);
    return httpRequest(url, { method, headers, body: content, signal }).catch((error: unknown) => {
      throw this.#noAnswer(error);
    });
  }

  #noAnswer(error: unknown): Error {
    if (this.#signal.aborted) return this.#signal.reason as Error;
    const { url, said } = this.#place;
    const forget = said.includes("config.yaml") ? "; `leoflow auth logout` forgets it" : "";
    const fix = `look at the address (${said}), or start it with \`leoflow lite\`${forget}`;
    const { code = "", message, cause } = error as NodeJS.ErrnoException;
    if ((cause as Error | undefined)?.name === "TimeoutError" || (error as Error).name === "TimeoutError") {
      return new UserError(`${this.url} gave no answer within ${this.#limitMs / 1000} s`, {
        fix: "ask again in a moment; look into its log",
      });
    }
    const why: Record<string, string> = {
      ECONNREFUSED: `nothing listens at ${this.url}`,
      ENOTFOUND: `there is no host ${url.hostname}`,
      EAI_AGAIN: `the name ${url.hostname} cannot be looked up now`,
      ECONNRESET: `${this.url} closed the connection`,
      EPIPE: `${this.url} closed the connection`,
      HPE_INVALID_CONSTANT: `${this.url} does not speak HTTP`,
    };
    return new UserError(why[code] ?? `${this.url} cannot be reached: ${message}`, { fix, cause: error });
  }

  #notOurs(method: string, path: string, response: IncomingMessage | undefined): UserError {
    const type = response?.headers["content-type"]?.split(";")[0];
    const got = response ? `${response.statusCode} and ${type ?? "no content"}` : "something else";
    return new UserError(`${this.url} is no Leoflow: it answered ${method} ${path} with ${got}`, {
      fix: `look at the address (${this.#place.said})`,
    });
  }

  #refusal(status: number, answer: unknown): ServerAnswer {
    const detail = detailText((answer as { detail?: unknown } | null)?.detail) ?? `${this.url} answered ${status}`;
    // Airflow answers a token that it cannot read with 403.
    if (status !== 401 && detail !== "Invalid JWT token") return new ServerAnswer(status, detail);
    const { tokenFrom, saved } = this.#place;
    const fix = `\`leoflow auth login --server ${this.url}\` signs in`;
    if (tokenFrom !== undefined)
      return new ServerAnswer(status, `${this.url} does not take ${tokenFrom}: ${detail}`, { fix });
    const elsewhere = saved === undefined ? "" : `; the token in config.yaml is for ${saved}`;
    return new ServerAnswer(status, `${this.url} wants a user, and there is no token for it${elsewhere}`, { fix });
  }
}

/**
 * The server a command means: `--server` and `--token`, else `LEOFLOW_SERVER` and `LEOFLOW_TOKEN`, else what `leoflow auth login`
 * left in config.yaml, else the Leoflow that runs from this home. A saved token goes to no other server than its own.
 */
export async function connectServer(caller: Caller, options: ServerOptions = {}): Promise<Server> {
  const place = await placeOf(caller, options);
  const server = new Server(place, caller.signal);
  if (place.tokenFrom === SAVED && isHalfOver(place.token() ?? "", Date.now())) await renewToken(server, caller.paths);
  return server;
}

/** The same server without a token: for `leoflow auth login`. */
export async function connectWithoutToken(caller: Caller, options: ServerOptions = {}): Promise<Server> {
  const place = await placeOf(caller, options);
  return new Server({ ...place, token: () => undefined, tokenFrom: undefined }, caller.signal);
}

async function placeOf(caller: Caller, options: ServerOptions): Promise<Place> {
  const { environment, paths } = caller;
  const config = await readServerSettings(paths, environment);
  const asked = askedAddress(environment, options, config);
  const own = await ownServer(caller, config, asked === undefined);
  const url = asked?.url ?? own?.url;
  if (url === undefined) throw notRunning();
  const saved = config.server_url;
  const isSaved = saved !== undefined && new URL(saved).origin === url.origin;
  const given =
    (options.token !== undefined && { token: options.token, tokenFrom: "the token of --token" }) ||
    (environment.token !== undefined && { token: environment.token, tokenFrom: "the token of LEOFLOW_TOKEN" }) ||
    (isSaved && config.token !== undefined && { token: config.token, tokenFrom: SAVED });
  const place = { url, said: asked?.said ?? "the Leoflow of this home", saved };
  if (given) return { ...place, token: () => given.token, tokenFrom: given.tokenFrom };
  const sign = own && isSame(own.url, url) ? own.sign : undefined;
  return { ...place, token: sign ?? (() => undefined), tokenFrom: sign && "this home's own token" };
}

function askedAddress(
  environment: Environment,
  options: ServerOptions,
  config: ServerSettings,
): { url: URL; said: string } | undefined {
  const [text, said] =
    options.server !== undefined
      ? [options.server, "--server"]
      : environment.server !== undefined
        ? [environment.server, "LEOFLOW_SERVER"]
        : [config.server_url, "server_url in config.yaml"];
  if (text === undefined) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && /^https?:$/.test(url.protocol)) return { url: new URL(url.origin + url.pathname), said };
  throw new UserError(`${said} is ${JSON.stringify(text)}, not a server's address`, {
    fix: "write it as http://localhost:8088",
    exitCode: 2,
  });
}

/** The Leoflow that runs from this home, whose tokens this home's key signs. `needed` says why there is none. */
async function ownServer(
  { paths }: Caller,
  config: ServerSettings,
  needed: boolean,
): Promise<{ url: URL; sign: () => string } | undefined> {
  const holder = await findLockHolder(paths.lock);
  const { jwt_secret: secret, admin_email: admin = "admin@leoflow.local" } = config;
  if (!holder?.living || secret === undefined) {
    if (needed) throw notRunning();
    return undefined;
  }
  if (holder.url === undefined) {
    if (!needed) return undefined;
    throw new UserError(`Leoflow (process ${holder.pid}) is still starting, or a command is at work`, {
      fix: "ask again in a moment",
    });
  }
  return { url: new URL(holder.url), sign: signer(admin, secret) };
}

function signer(admin: string, secret: string): () => string {
  return () => adminToken(admin, OWN_TOKEN_SECONDS, { secret, nowMs: instantMs(systemClock.now()) });
}

/** A Leoflow of this home, whatever other server is saved. */
export function homeServer(
  url: string,
  settings: Required<Pick<ServerSettings, "admin_email" | "jwt_secret">>,
  signal: AbortSignal,
): Server {
  const token = signer(settings.admin_email, settings.jwt_secret);
  const place = { url: new URL(url), said: "the Leoflow of this home", tokenFrom: "this home's own token" };
  return new Server({ ...place, token, saved: undefined }, signal);
}

const notRunning = () =>
  new UserError("Leoflow is not running", { fix: "start it with `leoflow lite`, then ask again" });

/** Whether two addresses are one server: this machine has several names. */
function isSame(one: URL, other: URL): boolean {
  const host = (url: URL) => (["localhost", "127.0.0.1", "[::1]"].includes(url.hostname) ? "localhost" : url.hostname);
  return one.protocol === other.protocol && one.port === other.port && host(one) === host(other);
}

/** What Airflow's API gives as `detail`, as one line. */
function detailText(detail: unknown): string | undefined {
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) {
    const issues = detail as { loc?: unknown[]; msg?: string }[];
    return issues.map(({ loc = [], msg = "" }) => `${loc.slice(1).join(".")}: ${msg}`).join("; ");
  }
  const { message, reason } = (detail ?? {}) as { message?: string; reason?: string };
  return message ?? reason;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
