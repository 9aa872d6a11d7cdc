import type { LeoflowPaths } from "../../lite/paths.ts";
import type { Server } from "./server.ts";

/** Whether a JWT has lived more than half of its life, and still lives. False for one that cannot be read. */
export function isHalfOver(token: string, nowMs: number): boolean {
  try {
    const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as Record<
      string,
      unknown
    >;
    const [from, to, now] = [Number(claims["iat"]), Number(claims["exp"]), nowMs / 1000];
    return now > (from + to) / 2 && now < to;
  } catch {
    return false;
  }
}

/** Exchanges config.yaml's token for a new one. Where that does not succeed the old one serves until it ends. */
export async function renewToken(server: Server, paths: LeoflowPaths): Promise<void> {
  try {
    const answer = await server.send<{ access_token?: unknown } | null>("POST", "/ui/auth/token", {
      body: { token_type: "api" },
    });
    const token = answer?.access_token;
    if (typeof token !== "string") return;
    const { updateConfigFile } = await import("../../lite/config-file.ts");
    updateConfigFile(paths, { token });
  } catch {
    // What is asked next says what is wrong.
  }
}
