import type { Command } from "commander";
import { runCommandWork, type CommandContext } from "./command-context.ts";
import { givenPassword } from "./new-password.ts";

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
    .option("--user <email>", "whose password: the admin's; other users have `leoflow auth update-user`")
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
  const given = await givenPassword({
    passwordStdin: options.passwordStdin,
    fromEnvironment: environment.adminPassword,
    variable: "LEOFLOW_ADMIN_PASSWORD",
    mayAsk: !options.json,
  });
  const { made } = await resetPassword(paths, given);
  logger.info({ user }, "the admin's password was reset");
  if (options.json) {
    terminal.write(`${JSON.stringify({ user, ...(made === undefined ? {} : { password: made }) }, null, 2)}\n`);
    return;
  }
  terminal.write(`  ✓ New password for ${user}; sessions stay signed in\n`);
  if (made !== undefined) terminal.write(`\n    Password   ${made}   (shown only now)\n\n`);
}
