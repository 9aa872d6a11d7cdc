import type { Role } from "../../domain/user.ts";
import type { Instant } from "../../kit/instant.ts";

/** What `/api/leoflow/users` and its page say to each other. */

export interface ListedUser {
  name: string;
  role: Role;
  /** Of multi-team mode. */
  teams: string[];
  active: boolean;
  created_at: Instant;
  updated_at: Instant;
  last_login: Instant | null;
}

export interface UserList {
  users: ListedUser[];
  total_entries: number;
  /** The e-mail address of the admin of config.yaml. */
  configured_admin: string;
  /** All the teams there are; null outside multi-team mode. */
  teams: string[] | null;
}

export interface ChangedUser extends ListedUser {
  /** A password that the server made; told only here. */
  password?: string;
}
