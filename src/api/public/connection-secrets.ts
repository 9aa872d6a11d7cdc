import { ExactObject, parseExact, pythonDumps } from "../../kit/exact-json.ts";
import type { SecretBox } from "../../kit/fernet.ts";
import type { ConnectionColumns, ConnectionRow } from "../../store/connections.ts";
import { mergeRedacted, parseOrNull, redact } from "../secrets.ts";

/** What a request may say of a connection; a field left out is left as it is. */
export interface ConnectionFields {
  conn_type?: string;
  description?: string | null;
  host?: string | null;
  login?: string | null;
  schema?: string | null;
  port?: number | null;
  password?: string | null;
  extra?: string | null;
  team_name?: string | null;
}

/** A connection's secrets in the open; null also where they were encrypted with another key. */
export interface OpenSecrets {
  password: string | null;
  extra: string | null;
}

export function openSecrets(secrets: SecretBox, row: ConnectionRow): OpenSecrets {
  const open = (value: string | null, encrypted: boolean): string | null => {
    if (!value || !encrypted) return value;
    try {
      return secrets.decrypt(value);
    } catch {
      return null;
    }
  };
  return { password: open(row.password, row.is_encrypted), extra: open(row.extra, row.is_extra_encrypted) };
}

/** Airflow's ConnectionResponse: nothing secret in it. */
export function toConnectionResponse(secrets: SecretBox, row: ConnectionRow) {
  const { password, extra } = openSecrets(secrets, row);
  return {
    connection_id: row.conn_id,
    conn_type: row.conn_type,
    description: row.description,
    host: row.host,
    login: row.login,
    schema: row.schema,
    port: row.port,
    password: password === null ? null : "***",
    extra: extra ? redactedExtra(extra) : extra,
    team_name: row.team_name,
  };
}

/** Extra that is not JSON could hold anything: then nothing of it is shown. */
function redactedExtra(extra: string): string {
  const parsed = parseOrNull(extra);
  return parsed === undefined ? "***" : pythonDumps(redact(parsed));
}

/** The columns of the fields given, secrets encrypted; `***` where a secret was shown keeps what is stored. */
export function toColumns(
  secrets: SecretBox,
  fields: ConnectionFields,
  stored: OpenSecrets | null = null,
): Partial<ConnectionColumns> {
  const { password, extra, ...plain } = fields;
  return {
    ...plain,
    ...(password === undefined ? {} : passwordColumns(secrets, mergedPassword(password, stored))),
    ...(extra === undefined ? {} : extraColumns(secrets, mergedExtra(extra, stored))),
  };
}

function mergedPassword(password: string | null, stored: OpenSecrets | null): string | null {
  if (password === null || !stored) return password;
  return password === "***" ? stored.password : password;
}

function mergedExtra(extra: string | null, stored: OpenSecrets | null): string | null {
  if (extra === null || stored?.extra == null) return extra;
  const before = parseOrNull(stored.extra);
  return before === undefined ? extra : pythonDumps(mergeRedacted(parseExact(extra), before));
}

function passwordColumns(secrets: SecretBox, password: string | null) {
  return { password: password ? secrets.encrypt(password) : password, is_encrypted: Boolean(password) };
}

function extraColumns(secrets: SecretBox, extra: string | null) {
  return { extra: extra ? secrets.encrypt(extra) : extra, is_extra_encrypted: Boolean(extra) };
}

/** "" counts as an empty object. A string that says why, when it is not the JSON of an object. */
export function checkExtra(extra: string): { extra: string } | { problem: string } {
  if (extra === "") return { extra: "{}" };
  const wanted = "The `extra` field must be a valid JSON object (e.g., {'key': 'value'})";
  const parsed = parseOrNull(extra);
  if (parsed === undefined) return { problem: `${wanted}, but encountered non-JSON in \`extra\` field` };
  return parsed instanceof ExactObject ? { extra } : { problem: wanted };
}
