import { existsSync, readdirSync, readFileSync } from "node:fs";

const AIRFLOW = "apache-airflow-core";

/** What a site-packages folder holds, read from its names: no Python runs. */
export function packagesIn(sitePackages: string): { name: string; version: string }[] {
  if (!existsSync(sitePackages)) return [];
  return readdirSync(sitePackages).flatMap((entry) => {
    const [, name, version] = /^(.+)-([^-]+)\.dist-info$/.exec(entry) ?? [];
    return name === undefined || version === undefined ? [] : [{ name: normalized(name), version }];
  });
}

/** Names that a lock file pins; `everywhere` are those that no kind of machine or Python does without. */
export function packagesOf(lockFile: string, which: "all" | "everywhere" = "all"): string[] {
  const lines = readFileSync(lockFile, "utf8").split("\n");
  return lines.flatMap((line) => {
    const name = /^([A-Za-z0-9][\w.-]*)(\[[^\]]*\])?==/.exec(line)?.[1];
    return name === undefined || (which === "everywhere" && line.includes(";")) ? [] : [normalized(name)];
  });
}

/** Whether packages of another release do for this one: the same Airflow, and nothing is missing. */
export function canServe(sitePackages: string, lockFile: string): boolean {
  const present = new Set(packagesIn(sitePackages).map(({ name }) => name));
  const hasAll = packagesOf(lockFile, "everywhere").every((name) => present.has(name));
  return hasAll && airflowVersionIn(sitePackages) === airflowVersionOf(lockFile);
}

/** The Airflow that an environment has: what our control plane must be able to speak to. */
export function airflowVersionIn(sitePackages: string): string | undefined {
  return packagesIn(sitePackages).find(({ name }) => name === AIRFLOW)?.version;
}

export function airflowVersionOf(lockFile: string): string | undefined {
  return new RegExp(`^${AIRFLOW}==([^\\s;\\\\]+)`, "m").exec(readFileSync(lockFile, "utf8"))?.[1];
}

/** As PEP 503 says. */
function normalized(name: string): string {
  return name.toLowerCase().replaceAll(/[-_.]+/g, "-");
}
