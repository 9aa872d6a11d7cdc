import { UserError } from "../../kit/user-error.ts";
import { canAsk, askLine, askSecret } from "../ask.ts";
import { usage, type Local } from "./remote-command.ts";
import { connectWithoutToken, ServerAnswer, type Server } from "./server.ts";

export interface LoginOptions {
  server?: string;
  username?: string;
  passwordStdin?: boolean;
}

/** `leoflow auth login`: signs in and keeps address and token in config.yaml. */
export async function logIn(local: Local, options: LoginOptions): Promise<void> {
  const server = await connectWithoutToken(local, options);
  const { username, token } = await tokenOf(local, server, options);
  const { updateConfigFile } = await import("../../lite/config-file.ts");
  updateConfigFile(local.paths, { server_url: server.url, token });
  local.terminal.write(`Signed in to ${server.url} as ${username}; kept in ${local.paths.config}\n`);
}

/** `leoflow auth logout`: forgets both, and lets the server forget the token where it can be reached. */
export async function logOut(local: Local): Promise<void> {
  const { readConfigFile, updateConfigFile } = await import("../../lite/config-file.ts");
  const { server_url: saved, token } = readConfigFile(local.paths, local.environment) ?? {};
  if (saved === undefined && token === undefined) {
    local.terminal.write("Nobody is signed in\n");
    return;
  }
  updateConfigFile(local.paths, { server_url: undefined, token: undefined });
  if (saved !== undefined && token !== undefined) await revoke(saved, token);
  local.terminal.write(`Signed out of ${saved ?? "the server"}\n`);
}

/** Best effort: a token that stays is good for a day at most. */
async function revoke(url: string, token: string): Promise<void> {
  const { httpRequest } = await import("./http.ts");
  const address = new URL(`${url.replace(/\/$/, "")}/api/v2/auth/logout`);
  const headers = { authorization: `Bearer ${token}` };
  const signal = AbortSignal.timeout(5_000);
  const answer = httpRequest(address, { method: "GET", headers, body: undefined, signal });
  await answer.then((response) => response.resume()).catch(() => undefined);
}

/** `leoflow auth create-token`: prints a token and nothing else. */
export async function createToken(local: Local, options: LoginOptions): Promise<void> {
  const server = await connectWithoutToken(local, options);
  local.terminal.write(`${(await tokenOf(local, server, options)).token}\n`);
}

async function tokenOf(
  local: Local,
  server: Server,
  options: LoginOptions,
): Promise<{ username: string; token: string }> {
  const { username, password } = await credentials(local, server, options);
  try {
    const body = { username, password };
    const answer = await server.send<{ access_token?: string } | null>("POST", "/auth/token", { body });
    const token = answer?.access_token;
    if (typeof token === "string") return { username, token };
  } catch (error) {
    if (!(error instanceof ServerAnswer) || error.status !== 401) throw error;
    throw new UserError(`${server.url} does not know ${username} with this password`, {
      fix: "look at both; `leoflow lite reset-password` gives the admin of a home another one",
    });
  }
  throw new UserError(`${server.url} gave no token`, { fix: "look at the address: it may be no Leoflow" });
}

/** From options, else the environment, else a person. The password is never an option: others could read it. */
async function credentials(
  { environment }: Local,
  server: Server,
  options: LoginOptions,
): Promise<{ username: string; password: string }> {
  const asks = canAsk();
  const way = "give --username and --password-stdin, or LEOFLOW_USERNAME and LEOFLOW_PASSWORD";
  let username = options.username ?? environment.userName;
  if (username === undefined && asks && !options.passwordStdin) username = await askLine(`User of ${server.url}: `);
  if (!username) throw usage("no user given", way);
  const password = options.passwordStdin
    ? await firstLine()
    : (environment.userPassword ?? (asks ? await askSecret("Password: ") : undefined));
  if (!password) throw usage(options.passwordStdin ? "stdin holds no password" : "no password given", way);
  return { username, password };
}

async function firstLine(): Promise<string | undefined> {
  const { text } = await import("node:stream/consumers");
  return (await text(process.stdin)).split(/\r?\n/)[0];
}
