import { mayUseXComsOf, teamNameOf, type Asker } from "../store/execution-team.ts";
import { refusalReply, refuse, type Refused } from "./answer.ts";
import type { ExecutionContext, MessageHandler } from "./context.ts";

/** Whom a request comes from, where teams count; null where they do not. */
export function askerOf(x: ExecutionContext, callerId: string | null): Asker | null {
  return x.config.multiTeam ? { callerId } : null;
}

/** What the environment keeps for the asker's team: `AIRFLOW_VAR__<TEAM>___<KEY>`; undefined where it keeps nothing. */
export async function teamSecretOf(
  x: ExecutionContext,
  callerId: string | null,
  kind: "VAR" | "CONN",
  name: string,
): Promise<string | undefined> {
  const { multiTeam, teamSecrets } = x.config;
  // A name that spells out a team's is nobody's.
  if (!multiTeam || teamSecrets.size === 0 || callerId === null || name.includes("___")) return undefined;
  const team = await teamNameOf(x.deps.database.db, { callerId });
  return team === null ? undefined : teamSecrets.get(`AIRFLOW_${kind}__${team.toUpperCase()}___${name.toUpperCase()}`);
}

/** Airflow's 403 where a DAG's XComs are another team's; null where they may be used. */
export async function xcomRefusal(
  x: ExecutionContext,
  callerId: string | null,
  dagId: string,
  writes: boolean,
): Promise<Refused | null> {
  const asker = askerOf(x, callerId);
  if (asker === null || (await mayUseXComsOf(x.deps.database.db, asker, dagId, writes))) return null;
  return refuse(403, "access_denied", "Task does not have access to this XCom in multi-team mode");
}

const WRITES = new Set(["SetXCom", "DeleteXCom"]);

/** XCom messages, each refused with Airflow's 403 where the DAG is another team's. */
export function withinTeams(handlers: Record<string, MessageHandler>): Record<string, MessageHandler> {
  const guarded = Object.entries(handlers).map(([type, handle]): [string, MessageHandler] => [
    type,
    async (x, callerId, message) => {
      const refused = await xcomRefusal(x, callerId, message.text("dag_id"), WRITES.has(type));
      return refused ? refusalReply(refused) : handle(x, callerId, message);
    },
  ]);
  return Object.fromEntries(guarded);
}
