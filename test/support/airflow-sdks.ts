import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { sharedHome, sharedUv } from "./home.ts";
import { testPython } from "./python.ts";

const locks = join(import.meta.dirname, "../e2e/airflow-sdks");

/**
 * The Python of a stock Airflow: that of the tests for 3.3, for older ones a venv made once of `test/e2e/airflow-sdks/<version>.txt`,
 * which is what `uv pip install apache-airflow-core==… apache-airflow-task-sdk==… apache-airflow-providers-standard` came to.
 */
export async function airflowPython(version: string): Promise<string> {
  if (version === "3.3") return testPython();
  const lock = join(locks, `${version}.txt`);
  const digest = createHash("sha256").update(readFileSync(lock)).digest("hex").slice(0, 12);
  const folder = join(sharedHome.home, "../..", "airflow-sdks", `${version}-${digest}`);
  const python = join(folder, "bin/python");
  if (existsSync(python)) return python;
  const uv = await sharedUv();
  const run = promisify(execFile);
  // Scripts of a venv name its folder, but nobody runs them: it may be made beside and moved.
  const fresh = `${folder}.${process.pid}`;
  mkdirSync(join(folder, ".."), { recursive: true });
  try {
    await run(uv, ["venv", "--quiet", "--python", testPython(), fresh]);
    await run(uv, ["pip", "install", "--quiet", "--no-deps", "--python", join(fresh, "bin/python"), "-r", lock]);
    renameSync(fresh, folder);
  } catch (error) {
    if (!existsSync(python)) throw error;
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  return python;
}
