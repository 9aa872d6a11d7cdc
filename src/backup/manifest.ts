import { UserError } from "../kit/user-error.ts";

export const MANIFEST = "MANIFEST.json";
export const MANIFEST_VERSION = 1;

export interface ManifestEntry {
  /** Of a file's content or a link's target; a folder's is that of nothing. */
  sha256: string;
  size: number;
}

/** MANIFEST.json, its names as they are in the file. */
export interface BackupManifest {
  manifest_version: number;
  leoflow_version: string;
  schema_version: number;
  postgres_version?: string;
  /** UTC, to the second. */
  created_at: string;
  /** Absolute paths on the machine of the backup. */
  home: string;
  workspace?: string;
  entries: Record<string, ManifestEntry>;
}

/** Reads a manifest's text. Throws UserError where this build cannot go by it. */
export function parseManifest(text: string): BackupManifest {
  const value = parseJson(text);
  const { manifest_version: version } = value;
  if (!Number.isInteger(version) || (version as number) < 1) {
    throw new UserError("backup manifest has no manifest_version field; archive is corrupt or pre-v1", {
      fix: "use a backup that `leoflow lite backup` wrote",
    });
  }
  if ((version as number) > MANIFEST_VERSION) {
    throw new UserError(
      `backup manifest_version ${version as number} is newer than this binary supports (${MANIFEST_VERSION}); upgrade leoflow`,
      { fix: "install the newest Leoflow and run the same command again" },
    );
  }
  const wrong = Object.entries(FIELDS).find(([name, fits]) => !fits(value[name]))?.[0];
  if (wrong) unreadable(`its ${wrong} is missing or wrong`);
  // A name like __proto__ is a key as any other.
  const entries = Object.assign(Object.create(null) as BackupManifest["entries"], value["entries"]);
  return { ...(value as unknown as BackupManifest), entries };
}

const isText = (value: unknown) => typeof value === "string";

/** What this build relies on. */
const FIELDS: Record<string, (value: unknown) => boolean> = {
  leoflow_version: isText,
  schema_version: (value) => Number.isInteger(value) && (value as number) >= 0,
  created_at: isText,
  home: isText,
  workspace: (value) => value === undefined || isText(value),
  postgres_version: (value) => value === undefined || isText(value),
  entries: (value) => isObject(value) && Object.values(value).every(isEntry),
};

function isEntry(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { sha256, size } = value;
  return (
    typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256) && Number.isSafeInteger(size) && (size as number) >= 0
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseJson(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // said below
  }
  return isObject(value) ? value : unreadable("it is not JSON");
}

function unreadable(why: string): never {
  throw new UserError(`the archive's MANIFEST.json cannot be read: ${why}`, {
    fix: "use another backup; nothing was changed",
  });
}
