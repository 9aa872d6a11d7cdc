import { randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { Document, isMap, isNode, isScalar, LineCounter, parseDocument, type YAMLMap } from "yaml";
import { expandHome, type Environment } from "../kit/config.ts";
import { newFernetKey } from "../kit/fernet.ts";
import { generatePassword, hashPassword, SHORTEST_PASSWORD } from "../kit/password.ts";
import { UserError } from "../kit/user-error.ts";
import type { LeoflowPaths } from "./paths.ts";

/** config.yaml, its names as they are in the file. Keys that we do not know are left alone. */
export interface LeoflowConfig {
  /** Absolute. */
  workspace: string;
  admin_email: string;
  /** argon2id, PHC form. */
  admin_password_hash: string;
  jwt_secret: string;
  fernet_key: string;
  lite_port: number;
  /** Airflow's `[core] multi_team`, where the environment does not say. */
  multi_team?: boolean;
  /** The Leoflow that commands talk to, and a user's token for it; `leoflow auth login` writes both. */
  server_url?: string;
  token?: string;
}

export interface LoadedConfig {
  config: LeoflowConfig;
  /** The file did not exist before. */
  created: boolean;
  /** Present when it was made now. Its hash is in `config`, but not in the file before `keepPassword`. */
  newPassword: string | undefined;
  /** Writes what was made now, where `later` was asked for. */
  save: () => void;
  /** Writes the new password's hash; to be called when the user is shown it, so that a start cut short loses none. */
  keepPassword: () => void;
}

const HEADER = ` Leoflow's settings. Yours to edit: comments and keys that Leoflow does not know stay.
 Keep this file secret and in your backups: without fernet_key stored connections cannot be read.`;

type Key = keyof LeoflowConfig;

/** undefined takes a key out of the file. */
export type ConfigChanges = { [K in Key]?: LeoflowConfig[K] | undefined };

/** What each key must be; the text completes "must be …". */
const KEYS: Record<Key, { is: string; fits: (value: unknown) => boolean }> = {
  workspace: { is: "a path", fits: isText },
  admin_email: { is: "a text", fits: isText },
  admin_password_hash: { is: "a text", fits: isText },
  jwt_secret: { is: "a text of 32 characters or more", fits: (value) => isText(value) && value.length >= 32 },
  fernet_key: {
    is: "32 bytes as URL-safe base64",
    fits: (value) => isText(value) && Buffer.from(value, "base64url").length === 32,
  },
  lite_port: {
    is: "a whole number from 1 to 65535",
    fits: (value) => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 65535,
  },
  multi_team: { is: "true or false", fits: (value) => typeof value === "boolean" },
  server_url: { is: "a URL such as http://localhost:8088", fits: (value) => isText(value) && URL.canParse(value) },
  token: { is: "a text", fits: isText },
};

function isText(value: unknown): value is string {
  return typeof value === "string" && value.trim() !== "";
}

/**
 * Reads config.yaml and makes what it lacks. A file that cannot be understood is an error that names line and column; it is
 * never written over. With `later` nothing is written before `save`: a start must not touch what it may have to refuse.
 */
export async function loadOrCreateConfig(
  paths: LeoflowPaths,
  environment: Pick<Environment, "userHome" | "adminPassword">,
  { later = false }: { later?: boolean } = {},
): Promise<LoadedConfig> {
  makeHome(paths.home);
  const created = !existsSync(paths.config);
  const document = created ? newDocument() : parseConfig(paths.config, readText(paths.config));
  if (!created) chmodSync(paths.config, 0o600);
  if (!document.has("fernet_key") && existsSync(join(paths.managedPostgres, "data"))) {
    throw new UserError(`${paths.config} has no fernet_key, but the database holds secrets encrypted with one`, {
      fix:
        "put the key back from a backup; or, to go on with a new key and enter the secrets again, add `fernet_key: " +
        `${newFernetKey()}\``,
    });
  }
  const missing: Partial<Record<Key, () => unknown>> = {
    workspace: () => join(environment.userHome, "leoflow"),
    admin_email: () => "admin@leoflow.local",
    jwt_secret: () => randomBytes(32).toString("base64url"),
    fernet_key: newFernetKey,
    lite_port: () => 8088,
  };
  let changed = false;
  for (const [key, make] of Object.entries(missing)) {
    if (document.has(key)) continue;
    document.set(key, await make());
    changed = true;
  }
  const save = () => {
    if (changed) writePrivately(paths.config, document.toString());
    changed = false;
  };
  if (!later) save();
  const config = document.toJS() as LeoflowConfig;
  config.workspace = resolve(dirname(paths.config), expandHome(config.workspace, environment.userHome));
  let newPassword: string | undefined;
  if (!document.has("admin_password_hash")) {
    newPassword = passwordForFirstStart(environment.adminPassword);
    config.admin_password_hash = await hashPassword(newPassword);
  }
  const keepPassword = () => {
    if (newPassword !== undefined) updateConfigFile(paths, { admin_password_hash: config.admin_password_hash });
  };
  return { config, created, newPassword, save, keepPassword };
}

function passwordForFirstStart(given: string | undefined): string {
  if (given !== undefined) checkPassword("LEOFLOW_ADMIN_PASSWORD", given);
  return given ?? generatePassword();
}

/** `source` is what the error names. */
export function checkPassword(source: string, password: string): void {
  if (password.length >= SHORTEST_PASSWORD) return;
  throw new UserError(`${source} is too short`, {
    fix: `use ${SHORTEST_PASSWORD} characters or more, or leave it away to get one made`,
  });
}

/** What config.yaml says, without making what it lacks; undefined where there is none. Throws UserError as `loadOrCreateConfig` does. */
export function readConfigFile(
  paths: LeoflowPaths,
  environment: Pick<Environment, "userHome">,
): Partial<LeoflowConfig> | undefined {
  if (!existsSync(paths.config)) return undefined;
  const config = parseConfig(paths.config, readText(paths.config)).toJS() as Partial<LeoflowConfig>;
  if (config.workspace === undefined) return config;
  return { ...config, workspace: resolve(dirname(paths.config), expandHome(config.workspace, environment.userHome)) };
}

/** Changes keys of config.yaml and keeps everything else in it, comments too. Makes a file where there is none. */
export function updateConfigFile(paths: LeoflowPaths, changes: ConfigChanges): void {
  const isNew = !existsSync(paths.config);
  if (isNew) makeHome(paths.home);
  const document = isNew ? newDocument() : parseConfig(paths.config, readText(paths.config));
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) document.delete(key);
    else if (document.has(key)) document.set(key, value);
    else insertInOrder(document, key as Key, value);
  }
  writePrivately(paths.config, document.toString());
}

/** A new key goes where a file made by us has it. */
function insertInOrder(document: Document, key: Key, value: unknown): void {
  const items = (document.contents as YAMLMap).items as { key: unknown }[];
  const order = Object.keys(KEYS);
  const before = order.slice(0, order.indexOf(key));
  const last = items.findLastIndex((item) => isScalar(item.key) && before.includes(String(item.key.value)));
  items.splice(last + 1, 0, document.createPair(key, value));
}

function newDocument(): Document {
  const document = new Document({});
  document.commentBefore = HEADER;
  return document;
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new UserError(`cannot read ${file}: ${(error as Error).message}`, {
      fix: `make it readable for you, for example \`chmod 600 ${file}\``,
      cause: error,
    });
  }
}

function parseConfig(file: string, text: string): Document {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const fail = (offset: number, problem: string): never => {
    const { line, col } = lines.linePos(offset);
    throw new UserError(`${file}, line ${line}, column ${col}: ${problem}`, {
      fix: "correct the file and start again; it was not changed",
    });
  };
  const [error] = document.errors;
  if (error) fail(error.pos[0], error.message.split("\n")[0] ?? "not YAML");
  const { contents } = document;
  if (contents === null) return Object.assign(newDocument(), { comment: document.comment });
  if (!isMap(contents)) return fail(contents.range[0], "must be a list of `key: value`");
  for (const pair of contents.items) {
    if (!isScalar(pair.key)) continue;
    const rule = KEYS[pair.key.value as Key] as (typeof KEYS)[Key] | undefined;
    const value = isScalar(pair.value) ? pair.value.value : pair.value;
    if (!rule || rule.fits(value)) continue;
    const range = isNode(pair.value) ? pair.value.range : undefined;
    fail(range?.[0] ?? pair.key.range?.[0] ?? 0, `${String(pair.key.value)} must be ${rule.is}`);
  }
  return document;
}

/** Whole or not at all, and never readable for others. */
function writePrivately(file: string, text: string): void {
  // A link stays a link.
  const target = existsSync(file) ? realpathSync(file) : file;
  const fresh = `${target}.${process.pid}.new`;
  writeFileSync(fresh, text, { mode: 0o600, flush: true });
  const owner = statSync(target, { throwIfNoEntry: false });
  // Written by root for another user: it stays that user's.
  if (owner && process.getuid?.() === 0) chownSync(fresh, owner.uid, owner.gid);
  renameSync(fresh, target);
}

function makeHome(home: string): void {
  try {
    mkdirSync(home, { recursive: true, mode: 0o700 });
    chmodSync(home, 0o700);
  } catch (error) {
    throw new UserError(`cannot make ${home}: ${(error as Error).message}`, {
      fix: "set LEOFLOW_HOME to a folder of yours",
      cause: error,
    });
  }
}
