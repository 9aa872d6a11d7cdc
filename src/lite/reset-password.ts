import { hashPassword, generatePassword } from "../kit/password.ts";
import { UserError } from "../kit/user-error.ts";
import type { Environment } from "../kit/config.ts";
import { checkPassword, readConfigFile, updateConfigFile } from "./config-file.ts";
import type { LeoflowPaths } from "./paths.ts";

const DEFAULT_ADMIN = "admin@leoflow.local";

/** Who a new password would be for. Throws UserError where there is no installation or no such user. */
export function userOfReset(
  paths: LeoflowPaths,
  environment: Pick<Environment, "userHome">,
  asked: string | undefined,
): string {
  const admin = configuredAdmin(paths, environment);
  if (asked !== undefined && !["admin", admin.toLowerCase()].includes(asked.trim().toLowerCase())) {
    throw new UserError(`${asked} is not the admin of config.yaml, who is ${admin}`, {
      fix: `leave --user away for the admin; other users get one with \`leoflow auth update-user ${asked} --new-password\``,
    });
  }
  return admin;
}

/** The admin's e-mail address. Throws UserError where there is no installation. */
export function configuredAdmin(paths: LeoflowPaths, environment: Pick<Environment, "userHome">): string {
  const config = readConfigFile(paths, environment);
  if (config !== undefined) return config.admin_email ?? DEFAULT_ADMIN;
  throw new UserError(`no Lite install found at ${paths.home} — run \`leoflow setup\` first`, {
    fix: "or set LEOFLOW_HOME to the installation you mean",
  });
}

export interface NewPassword {
  /** What to call it in an error: "LEOFLOW_ADMIN_PASSWORD". */
  source: string;
  password: string;
}

/**
 * Gives the admin another password: the given one, else a made one, which is returned. A Leoflow that runs takes it from its
 * next login on. Keys and sessions stay as they are.
 */
export async function resetPassword(
  paths: LeoflowPaths,
  given: NewPassword | undefined,
): Promise<{ made: string | undefined }> {
  if (given) checkPassword(given.source, given.password);
  const password = given?.password ?? generatePassword();
  updateConfigFile(paths, { admin_password_hash: await hashPassword(password) });
  return { made: given ? undefined : password };
}
