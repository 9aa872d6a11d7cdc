import type { Kit } from "../kit/service.ts";
import type { Reply, TaskExecution, ToSupervisor } from "../domain/task-execution.ts";
import { errorResponse, refusalReply, refuse } from "./answer.ts";
import { assetMessages } from "./asset.ts";
import {
  DEFAULT_EXECUTION_CONFIG,
  type ExecutionConfig,
  type ExecutionContext,
  type ExecutionDeps,
  type MessageHandler,
} from "./context.ts";
import { dagRunMessages } from "./dag-run.ts";
import { withDatabase } from "./database-retry.ts";
import { settleExit } from "./exited.ts";
import { hitlMessages } from "./hitl.ts";
import { MessageFieldError, MessageFields } from "./message-fields.ts";
import { secretMessages } from "./secret.ts";
import { heartbeat, startTask } from "./start.ts";
import { stateMessages } from "./state.ts";
import { taskInstanceMessages } from "./task-instance.ts";
import { taskStateStoreMessages } from "./task-state-store.ts";
import { xcomMessages } from "./xcom.ts";

/** Every message a task can send (`airflow.sdk.execution_time.comms.ToSupervisor`, 3.3.2). */
export const MESSAGES: Readonly<Record<string, MessageHandler>> = {
  ...stateMessages,
  ...taskInstanceMessages,
  ...xcomMessages,
  ...secretMessages,
  ...dagRunMessages,
  ...taskStateStoreMessages,
  ...hitlMessages,
  ...assetMessages,
  // Needs a file descriptor to be passed: only who holds the process can answer it.
  ResendLoggingFD: () => refusalReply(refuse(501, "not_supported", "ResendLoggingFD is answered by the agent")),
};

/** The rules of the Execution API over the store; see domain/task-execution.ts. */
export function createTaskExecution(
  kit: Kit,
  deps: ExecutionDeps,
  config: Partial<ExecutionConfig> = {},
): TaskExecution {
  const x = createExecutionContext(kit, deps, config);
  return {
    start: (id, worker) => withDatabase(x, () => startTask(x, id, worker)),
    heartbeat: (id, worker) => heartbeat(x, id, worker),
    handle: (id, message) => handleMessage(x, id, message),
    exited: (id, exit) => withDatabase(x, () => settleExit(x, id, exit)),
  };
}

/** What the per-operation functions take first; HTTP routes use it with them. */
export function createExecutionContext(
  kit: Kit,
  deps: ExecutionDeps,
  config: Partial<ExecutionConfig> = {},
): ExecutionContext {
  return { kit, deps, config: { ...DEFAULT_EXECUTION_CONFIG, ...config } };
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Answers one message; an `id` that is no UUID means that no task instance stands behind it. Never throws. */
export async function handleMessage(x: ExecutionContext, id: string, message: ToSupervisor): Promise<Reply> {
  const handler = Object.hasOwn(MESSAGES, message.type) ? MESSAGES[message.type] : undefined;
  if (!handler) {
    x.kit.logger.error({ taskInstance: id, message: message.type }, "unhandled request of a task");
    return { error: errorResponse("API_SERVER_ERROR", { status_code: 400, message: "Unhandled request" }) };
  }
  try {
    return await withDatabase(x, async () => handler(x, UUID.test(id) ? id : null, new MessageFields(message)));
  } catch (error) {
    if (error instanceof MessageFieldError) return refusalReply(refuse(422, "invalid_message", error.message));
    x.kit.logger.error({ err: error, taskInstance: id, message: message.type }, "a task's request failed");
    return {
      error: errorResponse("API_SERVER_ERROR", {
        status_code: null,
        message: error instanceof Error ? error.message : String(error),
        exception_type: error instanceof Error ? error.name : typeof error,
      }),
    };
  }
}
