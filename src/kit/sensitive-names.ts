/** Airflow's `DEFAULT_SENSITIVE_FIELDS` (3.3.2): names whose values are secrets. */
const SENSITIVE = [
  "access_key",
  "access_token",
  "api_key",
  "apikey",
  "auth_header",
  "authorization",
  "bearer",
  "connection_string",
  "dsn",
  "passphrase",
  "passwd",
  "password",
  "private_key",
  "proxy",
  "proxy_password",
  "proxies",
  "secret",
  "service_account",
  "service_key",
  "token",
  "keyfile_dict",
  "webhook_url",
];

/** Whether a Variable's key, a field of a Connection's extra or a keyword names a secret. Source: should_hide_value_for_key. */
export function isSensitiveName(name: string): boolean {
  const normal = name
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}_]+/gu, "_");
  return SENSITIVE.some((word) => normal.includes(word));
}
