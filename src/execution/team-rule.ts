import { mayUseXComsOf, type Asker } from "../store/execution-team.ts";
import { refusalReply, refuse } from "./answer.ts";
import type { ExecutionContext, MessageHandler } from "./context.ts";

/** Whom a request comes from, where teams count; null where they do not. */
export function askerOf(x: ExecutionContext, callerId: string | null): Asker | null {
  return x.config.multiTeam ? { callerId } : null;
}

const WRITES = new Set(["SetXCom", "DeleteXCom"]);

/** XCom messages, each refused with Airflow's 403 where the DAG is another team's. */
export function withinTeams(handlers: Record<string, MessageHandler>): Record<string, MessageHandler> {
  const guarded = Object.entries(handlers).map(([type, handle]): [string, MessageHandler] => [
    type,
    async (x, callerId, message) => {
      const asker = askerOf(x, callerId);
      if (asker === null) return handle(x, callerId, message);
      const may = await mayUseXComsOf(x.deps.database.db, asker, message.text("dag_id"), WRITES.has(type));
      if (may) return handle(x, callerId, message);
      return refusalReply(refuse(403, "access_denied", "Task does not have access to this XCom in multi-team mode"));
    },
  ]);
  return Object.fromEntries(guarded);
}
