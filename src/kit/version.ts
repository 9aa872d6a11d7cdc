import { readFileSync } from "node:fs";

declare const LEOFLOW_VERSION: string | undefined;

/** package.json's version; the build embeds it. */
export const programVersion: string =
  typeof LEOFLOW_VERSION !== "undefined"
    ? LEOFLOW_VERSION
    : (JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }).version;
