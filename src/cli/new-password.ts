import { text } from "node:stream/consumers";
import { UserError } from "../kit/user-error.ts";
import type { NewPassword } from "../lite/reset-password.ts";
import { askSecret, canAsk } from "./ask.ts";

/** Where a new password may come from: stdin's first line, else an environment variable, else a person. */
export interface PasswordSource {
  passwordStdin: boolean | undefined;
  fromEnvironment: string | undefined;
  /** The variable's name. */
  variable: string;
  /** False for scripts that want JSON. */
  mayAsk: boolean;
}

/** undefined where one is to be made. Throws UserError. */
export async function givenPassword(source: PasswordSource): Promise<NewPassword | undefined> {
  const { passwordStdin, fromEnvironment, variable, mayAsk } = source;
  if (passwordStdin) {
    const [line = ""] = (await text(process.stdin)).split(/\r?\n/);
    if (line === "") throw new UserError("stdin holds no password", { fix: "write it as the first line of stdin" });
    return { source: "the password on stdin", password: line };
  }
  if (fromEnvironment !== undefined) return { source: variable, password: fromEnvironment };
  if (!mayAsk || !canAsk()) return undefined;
  return askPassword();
}

async function askPassword(): Promise<NewPassword | undefined> {
  const password = await askSecret("New password (Enter makes one): ");
  if (password === undefined) throw new UserError("no password given", { fix: "nothing was changed" });
  if (password === "") return undefined;
  if ((await askSecret("New password again: ")) !== password) {
    throw new UserError("the two are not the same", { fix: "run the same command again; nothing was changed" });
  }
  return { source: "the password", password };
}
