import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { runCommand } from "../command.ts";
import type { LeoflowPaths } from "../paths.ts";
import { lockDigest, readBaseMarker, type BaseMarker } from "../python/base-python.ts";
import { PINNED_PYTHON } from "../python/toolchain.ts";
import { ok, problem, warning, type Check, type Patient } from "./check.ts";

const IMPORT_MS = 60_000;
const REMAKE = "the next start of `leoflow lite` installs it again";

export async function examinePython({ paths }: Patient): Promise<Check[]> {
  const name = "Python";
  const executable = join(paths.venv, "bin/python");
  const marker = readBaseMarker(paths);
  if (!existsSync(paths.venv))
    return [warning(name, "not installed yet", "`leoflow setup` or the first start installs it")];
  if (marker === undefined) {
    return [problem(name, `${paths.venv} has no whole .leoflow-deps: its installation did not end`, REMAKE)];
  }
  if (!existsSync(executable)) {
    return [problem(name, `${executable} leads to Python ${marker.python}, which is no longer there`, REMAKE)];
  }
  const imported = await runCommand(
    [executable, "-c", "import sys, airflow; print(sys.version.split()[0], airflow.__version__)"],
    {
      env: {
        PYTHONPATH: undefined,
        PYTHONHOME: undefined,
        AIRFLOW_HOME: join(paths.home, "airflow"),
        PYTHONDONTWRITEBYTECODE: "1",
      },
      signal: AbortSignal.timeout(IMPORT_MS),
    },
  );
  if (imported.code !== 0) {
    const last = imported.output.trim().split("\n").at(-1) ?? `exit code ${imported.code}`;
    return [
      problem(name, `${executable} cannot import Airflow: ${last}`, `remove ${paths.venv}; ${REMAKE}`),
      ...projects(paths.projectVenvs),
    ];
  }
  const [version = "", airflow = ""] = imported.stdout.trim().split("\n").at(-1)?.split(" ") ?? [];
  return [base(name, { version, airflow, marker }, paths), ...projects(paths.projectVenvs)];
}

function base(
  name: string,
  { version, airflow, marker }: { version: string; airflow: string; marker: BaseMarker },
  paths: LeoflowPaths,
): Check {
  const detail = `${version} with Airflow ${airflow}`;
  const next = "the next start of `leoflow lite` brings it up to date";
  if (marker.lock !== lockDigest(paths)) return warning(name, `${detail}: its packages are another release's`, next);
  if ((marker.pinned_python ?? PINNED_PYTHON) !== PINNED_PYTHON) {
    const made = `${detail}: made for CPython ${marker.pinned_python}, this release pins ${PINNED_PYTHON}`;
    if (marker.retry_after === undefined) return warning(name, made, next);
    return warning(name, `${made}, which could not be downloaded`, `a start after ${marker.retry_after} tries again`);
  }
  if (version !== PINNED_PYTHON) {
    return ok(name, `${detail}; CPython ${PINNED_PYTHON} could not be had when it was made`);
  }
  return ok(name, detail);
}

function projects(folder: string): Check[] {
  const names = existsSync(folder) ? readdirSync(folder).filter((each) => /^[0-9a-f]{16}$/.test(each)) : [];
  if (names.length === 0) return [];
  const name = "project environments";
  const half = names.filter((each) => !existsSync(join(folder, each, ".leoflow-deps")));
  const dead = names.filter((each) => !half.includes(each) && !existsSync(join(folder, each, "bin/python")));
  const wrong = [
    half.length > 0 ? `${half.length} not whole` : "",
    dead.length > 0 ? `${dead.length} with a Python that is gone` : "",
  ].filter(Boolean);
  if (wrong.length === 0) return [ok(name, `${names.length}`)];
  return [warning(name, `${names.length}, ${wrong.join(", ")}`, "they are made anew when a DAG needs them")];
}
