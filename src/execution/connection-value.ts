import { exactStringify, ExactObject, parseExact, pythonDumps, type ExactJson } from "../kit/exact-json.ts";

/** What an environment variable says of a connection, as Airflow's `Connection` reads it. */
export interface ConnectionValue {
  conn_type: string | null;
  host: string | null;
  schema: string | null;
  login: string | null;
  password: string | null;
  port: number | null;
  extra: string | null;
}

/** Reads a connection from its URI or its JSON. Throws for what is neither. */
export function readConnectionValue(value: string): ConnectionValue {
  const text = value.trim();
  return text.startsWith("{") ? fromJson(text) : fromUri(text);
}

function fromJson(text: string): ConnectionValue {
  const parsed = parseExact(text);
  const fields: ReadonlyMap<string, ExactJson> = parsed instanceof ExactObject ? parsed.entries : new Map();
  const textOf = (name: string): string | null => {
    const field = fields.get(name) ?? null;
    return field === null || typeof field === "string" ? field : exactStringify(field);
  };
  const extra = fields.get("extra") ?? null;
  const type = textOf("conn_type");
  return {
    conn_type: type && normalizedType(type),
    host: textOf("host"),
    schema: textOf("schema"),
    login: textOf("login"),
    password: textOf("password"),
    port: portOf(textOf("port")),
    extra: extra === null || typeof extra === "string" ? extra : pythonDumps(extra),
  };
}

/** `Connection._parse_from_uri`. */
function fromUri(uri: string): ConnectionValue {
  const schemes = uri.split("://").length - 1;
  const hasProtocol = schemes === 2;
  const [, type = "", rest = uri] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/is.exec(uri) ?? [];
  const [, protocol = "", address = rest] = (hasProtocol && /^([^:@/?#]+):\/\/(.*)$/s.exec(rest)) || [];
  if (schemes > 2 || (hasProtocol && protocol === "")) throw new Error("Invalid connection string.");
  const [, authority = "", path = "", query = ""] = /^([^/?#]*)([^?#]*)(?:\?([^#]*))?/.exec(address) ?? [];
  const at = authority.lastIndexOf("@");
  const [login, password] = at < 0 ? [null, null] : splitOnce(authority.slice(0, at), ":");
  const place = authority.slice(at + 1);
  const [, bracketed, plain = "", port = ""] = /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/s.exec(place) ?? [];
  const name = unquote((bracketed ?? plain).toLowerCase());
  // A path in the host's place keeps its capitals.
  const host = name.includes("/") ? unquote(place.split(":", 1)[0] ?? "") : name;
  return {
    conn_type: normalizedType(type.toLowerCase()),
    host: host !== "" && protocol !== "" ? `${protocol}://${host}` : host,
    schema: unquote(path.slice(1)),
    login: login && unquote(login),
    password: password && unquote(password),
    port: portOf(port === "" ? null : port),
    extra: extraOf(query),
  };
}

function splitOnce(text: string, by: string): [string, string | null] {
  const at = text.indexOf(by);
  return at < 0 ? [text, null] : [text.slice(0, at), text.slice(at + 1)];
}

/** Values are JSON where they can be; `__extra__` is all of it. */
function extraOf(query: string): string | null {
  if (query === "") return null;
  const given = new Map(new URLSearchParams(query));
  const whole = given.get("__extra__");
  if (whole !== undefined) return whole;
  const read = (value: string): ExactJson => {
    try {
      return value === "" ? value : parseExact(value);
    } catch {
      return value;
    }
  };
  return pythonDumps(new ExactObject(new Map([...given].map(([key, value]) => [key, read(value)]))));
}

function normalizedType(type: string): string {
  return type === "postgresql" ? "postgres" : type.replaceAll("-", "_");
}

function portOf(text: string | null): number | null {
  if (text === null || text === "") return null;
  if (!/^\d+$/.test(text)) throw new Error(`Expected integer value for \`port\`, but got '${text}' instead.`);
  return Number(text);
}

/** As Python's `unquote`: what is no escape stays. */
function unquote(text: string): string {
  return text.replaceAll(/(%[0-9a-f]{2})+/gi, (escaped) => Buffer.from(escaped.replaceAll("%", ""), "hex").toString());
}
