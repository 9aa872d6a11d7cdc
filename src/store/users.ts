import { sql, type Selectable } from "kysely";
import type { Role } from "../domain/user.ts";
import type { Database } from "./database.ts";
import type { UsersTable } from "./schema-users.ts";

/** A user as others may see them. */
export type UserRow = Omit<Selectable<UsersTable>, "password_hash" | "session_key">;

const SHOWN = ["name", "role", "teams", "active", "created_at", "updated_at", "last_login"] as const;

export function listUsers(db: Database): Promise<UserRow[]> {
  return db.selectFrom("users").select(SHOWN).orderBy("name").execute();
}

export function findUser(db: Database, name: string): Promise<UserRow | undefined> {
  return db.selectFrom("users").select(SHOWN).where("name", "=", name).executeTakeFirst();
}

/** undefined where the name is taken. */
export function createUser(
  db: Database,
  user: { name: string; passwordHash: string; role: Role; teams?: readonly string[] | undefined },
): Promise<UserRow | undefined> {
  return db
    .insertInto("users")
    .values({
      name: user.name,
      password_hash: user.passwordHash,
      role: user.role,
      ...(user.teams === undefined ? {} : { teams: [...user.teams] }),
    })
    .onConflict((conflict) => conflict.column("name").doNothing())
    .returning(SHOWN)
    .executeTakeFirst();
}

export interface UserChanges {
  role?: Role | undefined;
  /** All that the user is in. */
  teams?: readonly string[] | undefined;
  active?: boolean | undefined;
  passwordHash?: string | undefined;
}

/** Another password and being deactivated end the user's sessions. undefined where there is no such user. */
export function updateUser(db: Database, name: string, changes: UserChanges): Promise<UserRow | undefined> {
  const { role, teams, active, passwordHash } = changes;
  return db
    .updateTable("users")
    .set({
      updated_at: sql`now()`,
      ...(role === undefined ? {} : { role }),
      ...(teams === undefined ? {} : { teams: [...teams] }),
      ...(active === undefined ? {} : { active }),
      ...(passwordHash === undefined ? {} : { password_hash: passwordHash }),
      ...(passwordHash !== undefined || active === false ? { session_key: sql<string>`gen_random_uuid()` } : {}),
    })
    .where("name", "=", name)
    .returning(SHOWN)
    .executeTakeFirst();
}

/** Whether there was such a user. */
export async function deleteUser(db: Database, name: string): Promise<boolean> {
  const gone = await db.deleteFrom("users").where("name", "=", name).executeTakeFirst();
  return gone.numDeletedRows > 0n;
}

/** What a login is checked against. */
export function findLogin(db: Database, name: string) {
  return db
    .selectFrom("users")
    .select(["name", "password_hash", "role", "teams", "active", "session_key"])
    .where("name", "=", name)
    .executeTakeFirst();
}

export async function recordLogin(db: Database, name: string): Promise<void> {
  await db
    .updateTable("users")
    .set({ last_login: sql`now()` })
    .where("name", "=", name)
    .execute();
}

export interface TokenStanding {
  revoked: boolean;
  /** The role that the token's user has now; null where the session has ended. */
  role: Role | null;
  /** The teams that user is in now. */
  teams: string[] | null;
}

/** What became of a token since it was given out, by one round trip. */
export async function tokenStanding(
  db: Database,
  token: { jti: string | null; name: string; sessionKey: string | null },
): Promise<TokenStanding> {
  const { rows } = await sql<TokenStanding>`
    select asked.revoked, users.role, users.teams
    from (select exists (select from revoked_token where jti = ${token.jti}) as revoked) asked
    left join users on name = ${token.name} and active and session_key::text = ${token.sessionKey}`.execute(db);
  return rows[0] ?? { revoked: true, role: null, teams: null };
}
