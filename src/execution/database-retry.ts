import { setTimeout as wait } from "node:timers/promises";
import type { ExecutionContext } from "./context.ts";

const UNREACHABLE = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ENOENT", // the socket of a server that is starting
  "08000", // connection_exception
  "08003", // connection_does_not_exist
  "08006", // connection_failure
  "57P01", // admin_shutdown
  "57P02", // crash_shutdown
  "57P03", // cannot_connect_now
  "53300", // too_many_connections
  "40001", // serialization_failure
  "40P01", // deadlock_detected
]);

/** Whether the same statement may work a moment later. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as { code?: string };
  return (code !== undefined && UNREACHABLE.has(code)) || error.message.startsWith("Connection terminated");
}

/**
 * Tries again while the database cannot be reached: what a task reports must not be lost to a restart of PostgreSQL. Every
 * write here is guarded or an upsert, so doing it twice does no harm.
 */
export async function withDatabase<T>(x: ExecutionContext, work: () => Promise<T>): Promise<T> {
  for (const delayMs of x.config.reconnectDelaysMs) {
    try {
      return await work();
    } catch (error) {
      if (!isTransient(error)) throw error;
      x.kit.logger.warn({ err: error, delayMs }, "the database did not answer; trying again");
      await wait(delayMs);
    }
  }
  return await work();
}
