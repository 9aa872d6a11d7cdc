import type { Command } from "commander";
import type { NewPassword } from "../lite/reset-password.ts";
import { UserError } from "../kit/user-error.ts";
import type { UserRow } from "../store/users.ts";
import { addAgentTokenCommands } from "./auth-agent-tokens.ts";
import { addLoginCommands } from "./remote/auth-login.ts";
import { runCommandWork, type CommandContext } from "./command-context.ts";
import { givenPassword } from "./new-password.ts";

interface PasswordOptions {
  passwordStdin?: boolean;
  json?: boolean;
}

interface CreateOptions extends PasswordOptions {
  role: string;
  team?: string[];
}

interface UpdateOptions extends PasswordOptions {
  role?: string;
  /** false: none from now on. */
  team?: string[] | false;
  newPassword?: boolean;
  activate?: boolean;
  deactivate?: boolean;
}

const PASSWORD_HELP = `
Without --password-stdin and LEOFLOW_PASSWORD a terminal asks for the password; elsewhere one is made and shown once.
`;

/** `leoflow auth`. */
export function addAuthCommand(program: Command): void {
  const auth = program
    .command("auth")
    .summary("sign in, make tokens, the users beside the admin of config.yaml, and agents' tokens")
    .description(
      "Signing in to a Leoflow, tokens for its REST API, the users beside the admin of config.yaml, and tokens for agents. Users and " +
        "agents' tokens can be changed while Leoflow runs and while it is stopped. Roles, each with all of those before " +
        "it: viewer (looks), user (works with DAGs), op (pools, variables, connections, assets), admin (users).",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  leoflow auth create-user ann@example.com --role user\n  leoflow auth list-users\n" +
        "  leoflow auth update-user ann@example.com --deactivate\n",
    );

  addLoginCommands(auth);
  auth
    .command("create-user <name>")
    .description("Make a user, who signs in with this name or e-mail address.")
    .requiredOption("--role <role>", "viewer, user, op or admin")
    .option("--team <team>", "a team the user is in (multi-team mode); may be given more than once", collect)
    .option("--password-stdin", "read the password from the first line of stdin")
    .option("--json", "as JSON; asks nothing")
    .addHelpText(
      "after",
      `${PASSWORD_HELP}
Examples:
  leoflow auth create-user ann@example.com --role user
  leoflow auth create-user ci --role op --password-stdin < password.txt
  leoflow auth create-user eve@example.com --role op --team team_a --team team_b
  LEOFLOW_PASSWORD=… leoflow auth create-user bob --role viewer --json
`,
    )
    .action((name: string, options: CreateOptions) => runCommandWork((context) => runCreate(context, name, options)));

  auth
    .command("list-users")
    .description("Show who may sign in.")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  leoflow auth list-users\n  leoflow auth list-users --json | jq '.users[].name'\n",
    )
    .action((options: { json?: boolean }) => runCommandWork((context) => runList(context, options)));

  auth
    .command("update-user <name>")
    .description(
      "Change a user. Another role and other teams count from the next request on; another password and --deactivate sign the user out everywhere. " +
        "A Leoflow that runs takes it within two seconds.",
    )
    .option("--role <role>", "viewer, user, op or admin")
    .option("--team <team>", "the teams the user is in from now on; may be given more than once", collect)
    .option("--no-team", "take the user out of all teams")
    .option("--new-password", "give another password")
    .option("--password-stdin", "the same, read from the first line of stdin")
    .option("--deactivate", "let the user in no more, without forgetting who that was")
    .option("--activate", "let the user in again")
    .option("--json", "as JSON; asks nothing")
    .addHelpText(
      "after",
      `${PASSWORD_HELP}
Examples:
  leoflow auth update-user ann@example.com --role op
  leoflow auth update-user ann@example.com --team team_a
  leoflow auth update-user ann@example.com --new-password
  leoflow auth update-user ann@example.com --deactivate
`,
    )
    .action((name: string, options: UpdateOptions) => runCommandWork((context) => runUpdate(context, name, options)));

  auth
    .command("delete-user <name>")
    .description("Remove a user and sign them out everywhere. What they did stays in the audit log.")
    .option("--json", "as JSON")
    .addHelpText("after", "\nExamples:\n  leoflow auth delete-user ann@example.com\n")
    .action((name: string, options: { json?: boolean }) =>
      runCommandWork((context) => runDelete(context, name, options)),
    );
  addAgentTokenCommands(auth);
}

const collect = (team: string, before: string[] | false = []): string[] => [...(before || []), team];

// The work is imported late: `leoflow version` needs neither argon2 nor a database.
const work = () => import("./auth-users.ts");

async function runCreate(context: CommandContext, name: string, options: CreateOptions): Promise<void> {
  const password = () => passwordOf(context, options);
  const { user, made } = await (
    await work()
  ).create(context, {
    name,
    role: options.role,
    teams: options.team,
    password,
  });
  answer(context, options, user, made, `User ${user.name} made, role ${user.role}`);
}

async function runUpdate(context: CommandContext, name: string, options: UpdateOptions): Promise<void> {
  const { role, team, newPassword, passwordStdin, activate, deactivate } = options;
  const usage = (what: string) =>
    new UserError(what, { fix: "`leoflow auth update-user --help` shows how", exitCode: 2 });
  if (activate && deactivate) throw usage("--activate and --deactivate exclude each other");
  const withPassword = (newPassword ?? false) || (passwordStdin ?? false);
  const active = activate ? true : deactivate ? false : undefined;
  const teams = team === false ? [] : team;
  if (role === undefined && teams === undefined && active === undefined && !withPassword)
    throw usage("nothing to change");
  const password = withPassword ? () => passwordOf(context, options) : undefined;
  const { user, made } = await (await work()).update(context, name, { role, teams, active, password });
  answer(
    context,
    options,
    user,
    made,
    `User ${user.name} is ${user.active ? "active" : "deactivated"}, role ${user.role}`,
  );
}

async function runDelete(context: CommandContext, text: string, options: { json?: boolean }): Promise<void> {
  const name = await (await work()).remove(context, text);
  context.logger.info({ user: name }, "a user was removed");
  context.terminal.write(
    options.json ? `${JSON.stringify({ deleted: name }, null, 2)}\n` : `  ✓ User ${name} removed\n`,
  );
}

async function runList(context: CommandContext, options: { json?: boolean }): Promise<void> {
  const { terminal } = context;
  const listed = await (await work()).list(context);
  if (options.json) {
    terminal.write(`${JSON.stringify(listed, null, 2)}\n`);
    return;
  }
  const withTeams = listed.users.some(({ teams }) => teams.length > 0);
  const rows = [
    ["NAME", "ROLE", "STATE", "LAST LOGIN", ...(withTeams ? ["TEAMS"] : [])],
    [listed.configured_admin, "ADMIN", "active", "(config.yaml)"],
    ...listed.users.map((user) => [
      user.name,
      user.role,
      user.active ? "active" : "deactivated",
      user.last_login?.replace(/\.\d+/, "") ?? "never",
      ...(withTeams ? [user.teams.join(", ")] : []),
    ]),
  ];
  const widths = [0, 1, 2, ...(withTeams ? [3] : [])].map(
    (column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)) + 2,
  );
  terminal.write(
    rows.map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("")}\n`).join(""),
  );
}

function passwordOf({ environment }: CommandContext, options: PasswordOptions): Promise<NewPassword | undefined> {
  return givenPassword({
    passwordStdin: options.passwordStdin,
    fromEnvironment: environment.userPassword,
    variable: "LEOFLOW_PASSWORD",
    mayAsk: !options.json,
  });
}

function answer(
  { terminal, logger }: CommandContext,
  { json }: PasswordOptions,
  user: UserRow,
  made: string | undefined,
  done: string,
): void {
  logger.info({ user: user.name, role: user.role, active: user.active }, "a user was made or changed");
  if (json) {
    terminal.write(`${JSON.stringify({ user, ...(made === undefined ? {} : { password: made }) }, null, 2)}\n`);
    return;
  }
  terminal.write(`  ✓ ${done}\n`);
  if (made !== undefined) terminal.write(`\n    Password   ${made}   (shown only now)\n\n`);
}
