import type { Environment } from "../../kit/config.ts";
import type { LeoflowConfig } from "../config-file.ts";
import type { findLockHolder } from "../home-lock.ts";
import type { LeoflowPaths } from "../paths.ts";

/** What came of one look. Warnings leave an installation healthy. */
export interface Check {
  name: string;
  status: "ok" | "warning" | "problem";
  detail: string;
  /** The way out of what is not well. */
  fix?: string;
}

/** What all checks are given; read once. */
export interface Patient {
  paths: LeoflowPaths;
  environment: Environment;
  /** Undefined where there is none or it cannot be understood. */
  config: Partial<LeoflowConfig> | undefined;
  workspace: string;
  port: number;
  /** Whom the home's lock names. */
  lock: Awaited<ReturnType<typeof findLockHolder>>;
  /** Also ask PyPI. */
  network: boolean;
}

/** One subject: its checks, in the order they are shown. */
export type Examination = (patient: Patient) => Promise<Check[]> | Check[];

export const ok = (name: string, detail: string): Check => ({ name, status: "ok", detail });
export const warning = (name: string, detail: string, fix: string): Check => ({ name, status: "warning", detail, fix });
export const problem = (name: string, detail: string, fix: string): Check => ({ name, status: "problem", detail, fix });
