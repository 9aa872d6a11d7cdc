import { text } from "node:stream/consumers";
import type { Command } from "commander";
import { UserError } from "../kit/user-error.ts";
import type { NewPassword } from "../lite/reset-password.ts";
import { askSecret, canAsk } from "./ask.ts";
import { runCommandWork, type CommandContext } from "./command-context.ts";

interface Options {
  user?: string;
  passwordStdin?: boolean;
  json?: boolean;
}

/** `leoflow lite reset-password`. */
export function addResetPasswordCommand(lite: Command): void {
  lite
    .command("reset-password")
    .description(
      "Give the admin a new password. Works while Leoflow runs and while it is stopped; whoever is signed in stays so.",
    )
    .option("--user <email>", "whose password; there is only the admin")
    .option("--password-stdin", "read the new password from the first line of stdin")
    .option("--json", "as JSON; asks nothing")
    .addHelpText(
      "after",
      `
Without --password-stdin and LEOFLOW_ADMIN_PASSWORD a terminal asks for the password; elsewhere one is made and shown once.

Examples:
  leoflow lite reset-password
  leoflow lite reset-password --password-stdin < password.txt
  LEOFLOW_ADMIN_PASSWORD=… leoflow lite reset-password
`,
    )
    .action((options: Options) => runCommandWork((context) => run(context, options)));
}

async function run({ paths, environment, terminal, logger }: CommandContext, options: Options): Promise<void> {
  // argon2 is read here and not by `leoflow version`.
  const { resetPassword, userOfReset } = await import("../lite/reset-password.ts");
  const user = userOfReset(paths, environment, options.user);
  const { made } = await resetPassword(paths, await givenPassword(options, environment.adminPassword));
  logger.info({ user }, "the admin's password was reset");
  if (options.json) {
    terminal.write(`${JSON.stringify({ user, ...(made === undefined ? {} : { password: made }) }, null, 2)}\n`);
    return;
  }
  terminal.write(`  ✓ New password for ${user}; sessions stay signed in\n`);
  if (made !== undefined) terminal.write(`\n    Password   ${made}   (shown only now)\n\n`);
}

async function givenPassword(options: Options, fromEnvironment: string | undefined): Promise<NewPassword | undefined> {
  if (options.passwordStdin) {
    const [line = ""] = (await text(process.stdin)).split(/\r?\n/);
    if (line === "") throw new UserError("stdin holds no password", { fix: "write it as the first line of stdin" });
    return { source: "the password on stdin", password: line };
  }
  if (fromEnvironment !== undefined) return { source: "LEOFLOW_ADMIN_PASSWORD", password: fromEnvironment };
  if (options.json || !canAsk()) return undefined;
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
