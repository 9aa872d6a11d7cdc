import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

/** Every place Leoflow reads or writes, in one list. All absolute. */
export interface LeoflowPaths {
  home: string;
  config: string;
  /** What `leoflow setup` was told that is no secret. */
  setup: string;
  /** Held by the one `leoflow lite` of this home. */
  lock: string;
  logs: string;
  /** The base virtual environment: Airflow core, Task SDK, standard provider. */
  venv: string;
  /** uv and the CPython it installs. */
  python: string;
  /** Virtual environments of projects that list dependencies. */
  projectVenvs: string;
  /** PostgreSQL's binaries, password, log and `data/`. */
  managedPostgres: string;
  /** Source of DAG versions, by digest. */
  versions: string;
  /** The repositories of DAG bundles, bare. */
  bundles: string;
  /** What the tasks of a run share, while it goes on. */
  staging: string;
  /** Archives made before migrations, the last three. */
  snapshots: string;
  /** What a restore is doing, while it does it. */
  restoreJournal: string;
  /** To be on PYTHONPATH: the folder that holds the package `leoflow_runtime`. */
  runtime: string;
  /** What `@leoflow/task` stands for in the user's TypeScript. */
  taskSdk: string;
  /** This program's own folder: python/, examples/, dist/. */
  program: string;
}

export function resolvePaths(home: string): LeoflowPaths {
  const program = programFolder();
  return {
    home,
    config: join(home, "config.yaml"),
    setup: join(home, "setup.json"),
    lock: join(home, "lite.lock"),
    logs: join(home, "logs"),
    venv: join(home, "venv"),
    python: join(home, "python"),
    projectVenvs: join(home, "venvs"),
    managedPostgres: join(home, "managed-postgres"),
    versions: join(home, "versions"),
    bundles: join(home, "bundles"),
    staging: join(home, "staging"),
    snapshots: join(home, "snapshots"),
    restoreJournal: join(home, "restore.json"),
    runtime: join(program, "python"),
    taskSdk: join(program, "sdk/typescript/src/index.ts"),
    program,
  };
}

/** Found by looking upwards, because the same code runs from src/lite/ (tests) and from dist/. */
function programFolder(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    if (existsSync(join(folder, "python/requirements.lock"))) return folder;
    if (folder === dirname(folder)) throw new Error("python/requirements.lock is missing from this installation");
  }
}
