import { readFileSync } from "node:fs";
import type { Environment } from "../kit/config.ts";
import type { LeoflowConfig } from "./config-file.ts";
import type { LeoflowPaths } from "./paths.ts";

/** What a command needs to know to reach a server. */
export type ServerSettings = Partial<Pick<LeoflowConfig, "server_url" | "token" | "jwt_secret" | "admin_email">>;

const KEYS = ["server_url", "token", "jwt_secret", "admin_email"] as const;

/** What YAML may read as anything but a text. */
const NO_TEXT = /^(true|false|null|yes|no|on|off|--.*|0[xob].*|[-+]?[\d._]+(e[-+]?\d+)?)$/i;

/**
 * These settings of config.yaml. A file in which they are plain words, as Leoflow writes it, is read without loading a YAML
 * parser, which would take longer than the whole request; any other goes the long way. Throws UserError as `readConfigFile`.
 */
export async function readServerSettings(
  paths: LeoflowPaths,
  environment: Pick<Environment, "userHome">,
): Promise<ServerSettings> {
  const plain = plainSettings(readIfThere(paths.config));
  if (plain) return plain;
  const { readConfigFile } = await import("./config-file.ts");
  return readConfigFile(paths, environment) ?? {};
}

/** undefined where a parser is needed. In a block mapping only a key of its own begins a line. */
function plainSettings(text: string): ServerSettings | undefined {
  if (!/^(\s*#.*\n|\s*\n)*[a-z_]+:/.test(text)) return undefined;
  const found: ServerSettings = {};
  for (const key of KEYS) {
    const lines = text.match(new RegExp(`^["']?${key}["']?\\s*:.*$`, "gm"));
    if (!lines) continue;
    const value = /^[a-z_]+: ([\w-][\w.@:/+=-]*[\w/=-])$/.exec(lines[0] ?? "")?.[1];
    if (lines.length > 1 || value === undefined || NO_TEXT.test(value)) return undefined;
    found[key] = value;
  }
  return found;
}

/** What cannot be read is empty: the parser's way says what is wrong with it. */
function readIfThere(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
