import type { Generated } from "kysely";
import type { Role } from "../domain/user.ts";
import type { Instant } from "../kit/instant.ts";

export interface UserSchema {
  users: UsersTable;
}

export interface UsersTable {
  /** Lower case: a name or an e-mail address. */
  name: string;
  password_hash: string;
  role: Role;
  /** Of Airflow's multi-team mode; without it they mean nothing. */
  teams: Generated<string[]>;
  active: Generated<boolean>;
  /** In every token of the user; another one ends them all. */
  session_key: Generated<string>;
  created_at: Generated<Instant>;
  updated_at: Generated<Instant>;
  last_login: Instant | null;
}
