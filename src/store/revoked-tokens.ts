import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { Database } from "./database.ts";

/** Remembers that a token was logged out, and forgets the ones that have expired since. */
export async function revokeToken(db: Database, jti: string, exp: Instant): Promise<void> {
  await sql`
    with expired as (delete from revoked_token where exp < now() - interval '1 minute')
    insert into revoked_token (jti, exp) values (${jti}, ${exp}) on conflict (jti) do nothing
  `.execute(db);
}
