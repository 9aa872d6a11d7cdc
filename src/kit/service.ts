import type { Logger } from "pino";
import type { Clock } from "./clock.ts";

export type { Logger } from "pino";

/** What every long-lived part is given first. */
export interface Kit {
  logger: Logger;
  clock: Clock;
}

/** Long-lived parts start and stop, and tolerate being stopped twice or before a start. */
export interface Service {
  start(): Promise<void>;
  stop(): Promise<void>;
}

export function assertNever(value: never): never {
  throw new Error(`unexpected value: ${JSON.stringify(value)}`);
}
