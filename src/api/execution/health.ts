import { isTransient } from "../../execution/database-retry.ts";
import { databaseSnapshot } from "../../store/database-snapshot.ts";
import { NO_TOKEN, operation, type Operation } from "./operation.ts";

const open = { access: NO_TOKEN };

const ping: Operation["run"] = async (x) => {
  try {
    await databaseSnapshot(x.deps.database.db);
    return { status: 200, body: { ok: ["database"], failing: {} } };
  } catch (error) {
    if (!isTransient(error)) throw error;
    return { status: 500, body: { ok: [], failing: { database: String(error) } } };
  }
};

export const healthOperations: readonly Operation[] = [
  operation("GET /health", async () => ({ status: 200, body: { status: "healthy" } }), open),
  operation("GET /health/ping", ping, open),
];
