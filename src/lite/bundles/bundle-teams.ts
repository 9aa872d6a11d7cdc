import { UserError } from "../../kit/user-error.ts";
import type { Database } from "../../store/database.ts";
import { setBundleTeams, unknownTeams } from "../../store/teams.ts";
import { BUNDLES_VARIABLE } from "./bundle-settings.ts";

/** From now on the bundles are their teams', as the setting says. Throws UserError where it names a team that there is not. */
export async function assignBundles(db: Database, teams: ReadonlyMap<string, string>): Promise<void> {
  const [unknown] = await unknownTeams(db, [...new Set(teams.values())]);
  if (unknown !== undefined) {
    const bundle = [...teams].find(([, team]) => team === unknown)?.[0];
    throw new UserError(`${BUNDLES_VARIABLE}: there is no team ${unknown}, which the bundle ${bundle} belongs to`, {
      fix: `make it with \`leoflow teams create ${unknown}\`, or all that the setting names with \`leoflow teams sync\``,
    });
  }
  await setBundleTeams(db, teams);
}
