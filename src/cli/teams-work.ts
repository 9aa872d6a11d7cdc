import { teamNameProblem } from "../domain/team.ts";
import { UserError } from "../kit/user-error.ts";
import { readBundleSettings } from "../lite/bundles/bundle-settings.ts";
import { createTeams, deleteTeam, teamNames, type TeamUse } from "../store/teams.ts";
import type { CommandContext } from "./command-context.ts";
import { recordCommand, withStore } from "./with-store.ts";

/** The schema version that brought teams. */
export const TEAMS_SINCE = 7;
const TEAMS = { what: "keep teams in", since: TEAMS_SINCE, things: "teams" };

/** Returns the name as it was stored. */
export function create(context: CommandContext, text: string): Promise<string> {
  const name = checkedName(text);
  return withStore(context, TEAMS, async (db) => {
    if ((await createTeams(db, [name])).length === 0) {
      throw new UserError(`there is a team ${name} already`, { fix: "`leoflow teams list` shows all" });
    }
    await recordCommand(db, "cli_team_create");
    return name;
  });
}

export function list(context: CommandContext): Promise<string[]> {
  return withStore(context, TEAMS, teamNames);
}

/** Returns the name as it was stored. */
export function remove(context: CommandContext, text: string): Promise<string> {
  const name = checkedName(text);
  return withStore(context, TEAMS, async (db) => {
    const outcome = await deleteTeam(db, name);
    if (outcome.kind === "no_team") {
      throw new UserError(`there is no team ${name}`, { fix: "`leoflow teams list` shows who there is" });
    }
    if (outcome.kind === "in_use") {
      throw new UserError(`the team ${name} is still in use: it has ${describeUse(outcome.use)}`, {
        fix: "give these to another team or to none; a bundle's team is its team_name in AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST as Leoflow last started with it",
      });
    }
    await recordCommand(db, "cli_team_delete");
    return name;
  });
}

function describeUse({ bundles, connections, variables, pools }: TeamUse): string {
  const counts = { "DAG bundle": bundles, connection: connections, variable: variables, pool: pools };
  return Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([what, count]) => `${count} ${what}${count === 1 ? "" : "s"}`)
    .join(", ");
}

/** Returns the teams that were missing. */
export function sync(context: CommandContext): Promise<string[]> {
  const { dagBundles, userHome } = context.environment;
  const { teams } = readBundleSettings(dagBundles, userHome, { multiTeam: true });
  const names = [...teams.values()].map(checkedName);
  return withStore(context, TEAMS, async (db) => {
    const created = await createTeams(db, names);
    if (created.length > 0) await recordCommand(db, "cli_team_sync");
    return created;
  });
}

function checkedName(text: string): string {
  const name = text.trim();
  const problem = teamNameProblem(name);
  if (problem !== null)
    throw new UserError(`no team can be named ${JSON.stringify(name)}`, { fix: problem, exitCode: 2 });
  return name;
}
