import { signToken } from "../api/auth/tokens.ts";
import { systemClock } from "../kit/clock.ts";
import { UserError } from "../kit/user-error.ts";
import { readConfigFile } from "../lite/config-file.ts";
import { findLockHolder } from "../lite/home-lock.ts";
import { configuredAdmin } from "../lite/reset-password.ts";
import type { CommandContext } from "./command-context.ts";

const TOKEN_SECONDS = 60;
const ANSWER_LIMIT_MS = 30_000;

/** Asks the REST API of the Leoflow that runs from this home, as the admin of config.yaml. */
export async function askServer(context: CommandContext, path: string): Promise<unknown> {
  const { paths, environment, signal } = context;
  const admin = configuredAdmin(paths, environment);
  const secret = readConfigFile(paths, environment)?.jwt_secret;
  const holder = await findLockHolder(paths.lock);
  if (!holder?.living || secret === undefined) {
    throw new UserError("Leoflow is not running", { fix: "start it with `leoflow lite`, then ask again" });
  }
  if (holder.url === undefined) {
    throw new UserError(`Leoflow (process ${holder.pid}) is still starting, or a command is at work`, {
      fix: "ask again in a moment",
    });
  }
  const by = { now: systemClock.now(), key: new TextEncoder().encode(secret) };
  const token = await signToken({ name: admin, role: "ADMIN" }, TOKEN_SECONDS, by);
  const limit = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_LIMIT_MS)]);
  const url = new URL(path, holder.url);
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` }, signal: limit }).catch(
    (error: unknown) => {
      throw new UserError(`Leoflow at ${holder.url} does not answer`, { fix: "look into its log", cause: error });
    },
  );
  const body: unknown = await response.json().catch(() => null);
  if (response.ok) return body;
  const { detail } = (body ?? {}) as { detail?: unknown };
  throw new UserError(typeof detail === "string" ? detail : `Leoflow at ${holder.url} answered ${response.status}`);
}
