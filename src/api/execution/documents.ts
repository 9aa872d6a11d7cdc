import { existsSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ApiContext } from "../context.ts";
import { keep } from "../openapi.ts";
import { VERSIONS, type Version } from "./versions.ts";

const SOURCE = "airflow/api_fastapi/execution_api/versions/__init__.py";

/**
 * Airflow's OpenAPI documents of the Task Execution API. The wheel ships none: Airflow makes them of its routes, all versions
 * in about six seconds, so they are kept on disk.
 */
export function executionDocuments(
  context: Pick<ApiContext, "airflowPackageDir" | "python">,
  { cacheDir }: { cacheDir: string },
): (version: string) => Promise<string | undefined> {
  let making: Promise<Record<Version, string>> | undefined;
  const make = async () => (await context.python({ kind: "execution_openapi" })) as Record<Version, string>;
  return async (version) => {
    if (!(VERSIONS as readonly string[]).includes(version)) return undefined;
    const { size, mtimeMs } = statSync(join(context.airflowPackageDir, SOURCE));
    const name = `openapi-execution-${size.toString(16)}-${Math.round(mtimeMs).toString(16)}`;
    const fileOf = (of: string) => join(cacheDir, `${name}-${of}.json`);
    if (existsSync(fileOf(version))) return await readFile(fileOf(version), "utf8");
    making ??= make().finally(() => (making = undefined));
    const made = await making;
    await Promise.all(VERSIONS.map((of) => keep(cacheDir, fileOf(of), made[of]).catch(() => undefined)));
    return made[version as Version];
  };
}
