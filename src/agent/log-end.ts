import { join } from "node:path";
import type { Kit } from "../kit/service.ts";
import { taskLogPath, type Workload } from "../domain/workload.ts";
import { SecretMasker } from "./secret-masker.ts";
import { TaskLog } from "./task-log.ts";

type LoggedTry = Pick<Workload, "dagId" | "runId" | "taskId" | "mapIndex" | "tryNumber">;

/** Writes the last line of a try whose own supervisor is gone: why it ended. A log that cannot be written keeps nobody waiting. */
export async function appendToTaskLog(kit: Kit, logsDir: string, ti: LoggedTry, reason: string): Promise<void> {
  const log = new TaskLog(kit, join(logsDir, taskLogPath(ti, ti.tryNumber)), new SecretMasker());
  log.add("error", reason);
  await log.close();
}
