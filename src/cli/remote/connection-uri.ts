import { ExactObject, parseExact, pythonDumps, type ExactJson } from "../../kit/exact-json.ts";

/** A connection's fields, as Airflow's files and its API name them. */
export interface ConnectionFields {
  conn_type: string;
  description: string | null;
  host: string | null;
  login: string | null;
  password: string | null;
  schema: string | null;
  port: number | null;
  extra: string | null;
}

const EXTRA_KEY = "__extra__";

/** Reads a URI as `airflow.models.connection.Connection` does (3.3.2). Throws Error whose message says what is wrong. */
export function parseConnectionUri(uri: string): Omit<ConnectionFields, "description"> {
  const schemes = uri.split("://").length - 1;
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(uri)?.[1]?.toLowerCase();
  if (scheme === undefined || schemes > 2) throw new Error("is not TYPE://LOGIN:PASSWORD@HOST:PORT/SCHEMA?EXTRA");
  let rest = uri.slice(scheme.length + 3);
  let protocol = "";
  if (schemes === 2) {
    const at = rest.indexOf("://");
    protocol = rest.slice(0, at);
    if (/[@:]/.test(protocol)) throw new Error("has its second :// in the wrong place");
    rest = rest.slice(at + 3);
  }
  const [beforeQuery = "", ...queries] = (rest.split("#")[0] ?? "").split("?");
  const slash = beforeQuery.indexOf("/");
  const authority = slash < 0 ? beforeQuery : beforeQuery.slice(0, slash);
  const schema = slash < 0 ? "" : beforeQuery.slice(slash + 1);
  const at = authority.lastIndexOf("@");
  const user = at < 0 ? "" : authority.slice(0, at);
  const colon = user.indexOf(":");
  const [, bracketed, plain = "", portText = ""] =
    /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/.exec(authority.slice(at + 1)) ?? [];
  const port = portText === "" ? null : Number(portText);
  if (port !== null && !(/^\d+$/.test(portText) && port <= 65535)) throw new Error("has a port that is none");
  const hostText = decode(bracketed ?? plain);
  // As Python's urlsplit: hosts are lower case, but for paths in their place.
  const host = hostText.includes("/") ? hostText : hostText.toLowerCase();
  return {
    conn_type: typeOf(scheme),
    host: host === "" ? null : protocol === "" ? host : `${protocol.toLowerCase()}://${host}`,
    schema: decode(schema) || null,
    login: decode(colon < 0 ? user : user.slice(0, colon)) || null,
    password: colon < 0 ? null : decode(user.slice(colon + 1)) || null,
    port,
    extra: extraOf(queries.join("?")),
  };
}

function typeOf(scheme: string): string {
  return scheme === "postgresql" ? "postgres" : scheme.replaceAll("-", "_");
}

function extraOf(query: string): string | null {
  if (query === "") return null;
  const fields = [...new URLSearchParams(query)];
  const whole = fields.findLast(([name]) => name === EXTRA_KEY);
  if (whole) return whole[1];
  return pythonDumps(new ExactObject(new Map(fields.map(([name, value]) => [name, jsonOrText(value)]))));
}

function jsonOrText(text: string): ExactJson {
  try {
    return parseExact(text);
  } catch {
    return text;
  }
}

/** Writes a URI as `Connection.get_uri` does. */
export function connectionUri(fields: Omit<ConnectionFields, "description">): string {
  const { conn_type: type, login, password, schema, port } = fields;
  const [, protocol, bare] = /^(.*?):\/\/(.*)$/s.exec(fields.host ?? "") ?? [];
  const hasOther = protocol !== undefined && protocol !== type;
  const host = hasOther ? (bare ?? "") : (fields.host ?? "");
  let authority = login === null ? "" : quote(login);
  if (password !== null) authority += `:${quote(password)}`;
  if (authority !== "") authority += "@";
  let place = host === "" ? "" : quote(host);
  if (port) place += place === "" && authority === "" ? `@:${port}` : `:${port}`;
  if (schema) place += `/${quote(schema)}`;
  const query = fields.extra ? `${schema ? "?" : "/?"}${extraQuery(fields.extra)}` : "";
  const head = type === "" ? "//" : `${type.toLowerCase().replaceAll("_", "-")}://`;
  return `${head}${hasOther ? `${protocol}://` : ""}${authority}${place}${query}`;
}

/** Flat where reading it gives the same again. */
function extraQuery(extra: string): string {
  const parsed = jsonOrText(extra);
  const fields = parsed instanceof ExactObject ? [...parsed.entries] : [];
  const isFlat = fields.length > 0 && fields.every(([, value]) => typeof value === "string");
  const entries = isFlat ? fields : [[EXTRA_KEY, extra] as const];
  return entries
    .map(([name, value]) => `${quotePlus(name)}=${quotePlus(typeof value === "string" ? value : "")}`)
    .join("&");
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Error("has a % that begins no character");
  }
}

/** Python's `quote(text, safe="")`. */
function quote(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`);
}

const quotePlus = (text: string) => quote(text).replaceAll("%20", "+");
