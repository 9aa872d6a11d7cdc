import { instantFromMicros, type Instant } from "./instant.ts";

/** Time as the program sees it; tests stub it. */
export interface Clock {
  now(): Instant;
}

const offsetMicros = Math.round((Date.now() - performance.now()) * 1000);
let last = 0;

/** The wall clock with microseconds, never running backwards within this process. */
export const systemClock: Clock = {
  now() {
    // Follows a stepped wall clock, yet takes the microseconds from the monotonic one.
    const monotonic = offsetMicros + Math.round(performance.now() * 1000);
    const wall = Date.now() * 1000;
    last = Math.max(last, Math.abs(monotonic - wall) > 1_000_000 ? wall : monotonic);
    return instantFromMicros(last);
  },
};
