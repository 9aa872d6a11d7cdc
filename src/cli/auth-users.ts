import { isConfiguredAdmin, ROLES, userNameOf, userNameProblem, type Role } from "../domain/user.ts";
import { generatePassword, hashPassword } from "../kit/password.ts";
import { UserError } from "../kit/user-error.ts";
import { checkPassword } from "../lite/config-file.ts";
import { configuredAdmin, type NewPassword } from "../lite/reset-password.ts";
import type { Database } from "../store/database.ts";
import { unknownTeams } from "../store/teams.ts";
import { createUser, deleteUser, listUsers, updateUser, type UserChanges, type UserRow } from "../store/users.ts";
import type { CommandContext } from "./command-context.ts";
import { recordCommand, withStore } from "./with-store.ts";

/** Their teams came with schema version 7. */
const USERS = { what: "keep users in", since: 7, things: "users" };

export interface Listed {
  users: UserRow[];
  configured_admin: string;
}

export function list(context: CommandContext): Promise<Listed> {
  const admin = configuredAdmin(context.paths, context.environment);
  return withStore(context, USERS, async (db) => ({ users: await listUsers(db), configured_admin: admin }));
}

/** Asked when all else is well; undefined where one is to be made. */
export type AskPassword = () => Promise<NewPassword | undefined>;

/** Makes a user; with a password of its own making where none is given, which is returned. */
export async function create(
  context: CommandContext,
  user: { name: string; role: string; teams: readonly string[] | undefined; password: AskPassword },
): Promise<{ user: UserRow; made: string | undefined }> {
  const name = userNameOf(user.name);
  const problem = userNameProblem(name, configuredAdmin(context.paths, context.environment));
  if (problem !== null) throw new UserError(`no user can be named ${JSON.stringify(name)}`, { fix: problem });
  const role = parseRole(user.role);
  const { hash, made } = await newHash(await user.password());
  return withStore(context, USERS, async (db) => {
    await checkTeams(db, user.teams);
    const row = await createUser(db, { name, role, teams: user.teams, passwordHash: hash });
    if (!row) {
      throw new UserError(`there is a user ${name} already`, {
        fix: `\`leoflow auth update-user ${name}\` changes role and password`,
      });
    }
    await recordCommand(db, "cli_create_user");
    return { user: row, made };
  });
}

export interface AskedChanges {
  role: string | undefined;
  /** All of them; undefined leaves them. */
  teams: readonly string[] | undefined;
  active: boolean | undefined;
  /** undefined leaves it. */
  password: AskPassword | undefined;
}

/** Changes a user; see `create` for the password. */
export async function update(
  context: CommandContext,
  text: string,
  asked: AskedChanges,
): Promise<{ user: UserRow; made: string | undefined }> {
  const name = existingName(context, text);
  const role = asked.role === undefined ? undefined : parseRole(asked.role);
  const { hash, made } = asked.password ? await newHash(await asked.password()) : {};
  const changes: UserChanges = { role, teams: asked.teams, active: asked.active, passwordHash: hash };
  return withStore(context, USERS, async (db) => {
    await checkTeams(db, asked.teams);
    const user = await updateUser(db, name, changes);
    if (!user) throw unknown(name);
    await recordCommand(db, "cli_update_user");
    return { user, made };
  });
}

/** Returns the name as it was stored. */
export async function remove(context: CommandContext, text: string): Promise<string> {
  const name = existingName(context, text);
  return withStore(context, USERS, async (db) => {
    if (!(await deleteUser(db, name))) throw unknown(name);
    await recordCommand(db, "cli_delete_user");
    return name;
  });
}

async function checkTeams(db: Database, teams: readonly string[] = []): Promise<void> {
  const [unknown] = await unknownTeams(db, teams);
  if (unknown === undefined) return;
  throw new UserError(`there is no team ${unknown}`, {
    fix: `\`leoflow teams list\` shows all, \`leoflow teams create ${unknown}\` makes it`,
  });
}

async function newHash(given: NewPassword | undefined): Promise<{ hash: string; made: string | undefined }> {
  if (given) checkPassword(given.source, given.password);
  const password = given?.password ?? generatePassword();
  return { hash: await hashPassword(password), made: given ? undefined : password };
}

function parseRole(text: string): Role {
  const role = ROLES.find((each) => each === text.toUpperCase());
  if (role) return role;
  throw new UserError(`--role is ${JSON.stringify(text)}`, {
    fix: `use one of ${ROLES.join(", ").toLowerCase()}`,
    exitCode: 2,
  });
}

function existingName({ paths, environment }: CommandContext, text: string): string {
  const name = userNameOf(text);
  const admin = configuredAdmin(paths, environment);
  if (!isConfiguredAdmin(name, admin)) return name;
  throw new UserError(`${name} is the admin of config.yaml`, {
    fix: "`leoflow lite reset-password` gives it another password, `admin_email` in config.yaml another address",
  });
}

function unknown(name: string): UserError {
  return new UserError(`there is no user ${name}`, { fix: "`leoflow auth list-users` shows who there is" });
}
