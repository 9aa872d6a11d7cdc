export { FailTask, float, SkipTask, task, type TaskFunction } from "./task.ts";
export type { Float } from "./msgpack.ts";
export type {
  Connection,
  Connections,
  DagRun,
  Log,
  LogFields,
  TaskContext,
  Variables,
  XCom,
  XComSource,
} from "./context.ts";
