import type { Command } from "commander";
import { examplesText, runLocal } from "./remote-command.ts";
import type { LoginOptions } from "./login.ts";

const ABOUT_PASSWORDS =
  "\nThe password comes from --password-stdin, else LEOFLOW_PASSWORD, else a terminal asks for it and does not show it.\n";

/** `leoflow auth login`, `logout` and `create-token`: what a user does with a server. */
export function addLoginCommands(auth: Command): void {
  auth
    .command("login")
    .description("Sign in to a Leoflow. Its address and a token are kept in config.yaml, for the commands that follow.")
    .option("--server <url>", "its address; without it LEOFLOW_SERVER, the saved one, else this home's own")
    .option("--username <name>", "the user, instead of LEOFLOW_USERNAME")
    .option("--password-stdin", "read the password from the first line of stdin")
    .addHelpText(
      "after",
      ABOUT_PASSWORDS +
        examplesText([
          "leoflow auth login --server https://leoflow.example.com",
          "leoflow auth login --username ann@example.com --password-stdin < password.txt",
        ]),
    )
    .action((options: LoginOptions) => runLocal(async (local) => (await import("./login.ts")).logIn(local, options)));
  auth
    .command("logout")
    .description("Forget the saved server and its token; commands talk to this home's own Leoflow again.")
    .addHelpText("after", examplesText(["leoflow auth logout"]))
    .action(() => runLocal(async (local) => (await import("./login.ts")).logOut(local)));
  auth
    .command("create-token")
    .description("Print a token for the REST API, good for a day, and nothing else.")
    .option("--server <url>", "the Leoflow to ask; without it LEOFLOW_SERVER, the saved one, else this home's own")
    .option("--username <name>", "the user, instead of LEOFLOW_USERNAME")
    .option("--password-stdin", "read the password from the first line of stdin")
    .addHelpText(
      "after",
      ABOUT_PASSWORDS +
        examplesText([
          "export LEOFLOW_TOKEN=$(leoflow auth create-token --username ci --password-stdin < password.txt)",
        ]),
    )
    .action((options: LoginOptions) =>
      runLocal(async (local) => (await import("./login.ts")).createToken(local, options)),
    );
}
