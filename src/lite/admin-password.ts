import { statSync } from "node:fs";
import type { Logger } from "../kit/service.ts";
import { readConfigFile, type LeoflowConfig } from "./config-file.ts";
import type { LeoflowPaths } from "./paths.ts";

/**
 * The admin's password hash as config.yaml has it at the moment: a running Leoflow takes a reset password at once, for one
 * stat() a login. What was last known stays while the file cannot be read or has no hash (a first start writes it last).
 */
export function currentPasswordHash(
  paths: LeoflowPaths,
  config: Pick<LeoflowConfig, "admin_password_hash">,
  logger: Logger,
): () => string {
  let hash = config.admin_password_hash;
  let seen = versionOf(paths.config);
  return () => {
    const version = versionOf(paths.config);
    if (version === seen) return hash;
    seen = version;
    try {
      hash = readConfigFile(paths, { userHome: paths.home })?.admin_password_hash ?? hash;
    } catch (error) {
      logger.warn({ err: error }, "config.yaml cannot be read; the admin's password stays what it was");
    }
    return hash;
  };
}

/** Another one after every write, in place or by rename. */
function versionOf(file: string): string {
  const found = statSync(file, { bigint: true, throwIfNoEntry: false });
  return found ? `${found.ino}:${found.ctimeNs}:${found.size}` : "none";
}
