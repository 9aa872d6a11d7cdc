import { join } from "node:path";
import type { Environment } from "../../kit/config.ts";
import { readConfigFile } from "../config-file.ts";
import { findLockHolder } from "../home-lock.ts";
import type { LeoflowPaths } from "../paths.ts";
import type { Check, Examination, Patient } from "./check.ts";
import { examineBackups, examineConfig, examineDisk, examineLeftovers, examineLog, examineWorkspace } from "./home.ts";
import { examineNetwork, examinePorts } from "./network.ts";
import { examinePlatform, examineProgram } from "./platform.ts";
import { asProblem, examineDatabase, examineOldClusters, examinePostgres } from "./postgres.ts";
import { examinePython } from "./python.ts";

export interface Report {
  /** Nothing is a problem; warnings are allowed. */
  healthy: boolean;
  checks: Check[];
}

/** In the order they are shown; the name is for one that fails itself. */
const EXAMINATIONS: [string, Examination][] = [
  ["platform", examinePlatform],
  ["Leoflow", examineProgram],
  ["config.yaml", examineConfig],
  ["Leoflow Lite", examineLeftovers],
  ["Python", examinePython],
  ["PostgreSQL", examinePostgres],
  ["server", examineDatabase],
  ["old clusters", examineOldClusters],
  ["workspace", examineWorkspace],
  ["port", examinePorts],
  ["disk", examineDisk],
  ["backup", examineBackups],
  ["log", examineLog],
  ["network", examineNetwork],
];

/** Looks at everything and changes nothing: no file is written, no PostgreSQL started. */
export async function examine(
  paths: LeoflowPaths,
  environment: Environment,
  options: { network: boolean },
): Promise<Report> {
  const patient = await patientOf(paths, environment, options.network);
  const checks = await Promise.all(
    EXAMINATIONS.map(async ([name, examination]) => {
      try {
        return await examination(patient);
      } catch (error) {
        return [asProblem(name, error)];
      }
    }),
  );
  const all = checks.flat();
  return { healthy: all.every(({ status }) => status !== "problem"), checks: all };
}

export async function patientOf(paths: LeoflowPaths, environment: Environment, network: boolean): Promise<Patient> {
  let config: Patient["config"];
  try {
    config = readConfigFile(paths, environment);
  } catch {
    // its own check says what is wrong
  }
  return {
    paths,
    environment,
    config,
    workspace: environment.workspace ?? config?.workspace ?? join(environment.userHome, "leoflow"),
    port: environment.port ?? config?.lite_port ?? 8088,
    lock: await findLockHolder(paths.lock),
    network,
  };
}
