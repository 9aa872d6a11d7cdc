import type { JsonText } from "../kit/json-text.ts";

/** What parsing one DAG file needs to know. Made by the workspace processor, answered by the agent's Python. */
export interface ParseRequest {
  /** The workspace's root, absolute: on sys.path, as Airflow puts the DAGs folder there. */
  workspace: string;
  /** The DAG file, absolute. */
  path: string;
  /** The DAG file below the workspace, with `/`. */
  relPath: string;
  /**
   * The folder of the file's project (the nearest at or above the file that holds leoflow.yaml), absolute: on sys.path
   * before the workspace, so that the modules beside dag.py import by their bare name. null for a plain DAG file. Tasks find
   * it the same way: a version's archive holds a copy of leoflow.yaml.
   */
  projectPath: string | null;
  /** "default" is `~/.leoflow/venv`; any other name is a folder below `~/.leoflow/venvs`. */
  environment: string;
  /** Wall clock; the process group is killed after it. Airflow's default is 30. */
  timeoutSeconds: number;
  memoryMb: number;
  /** What the project's leoflow.yaml changes of this file's DAG. */
  overlay?: ProjectOverlay | null;
}

/**
 * What leoflow.yaml says of one DAG, as Python applies it: in the parse, and wherever the version's file is imported later
 * (leoflow_runtime/project.py).
 */
export interface ProjectOverlay {
  /** leoflow.yaml below the workspace. */
  file: string;
  /** Which DAG of the file; null: the only one. */
  dag_id: string | null;
  /** "line:column" of what only Python can judge, by key: `dag_id`, `tasks.<task_id>`. */
  places: Readonly<Record<string, string>>;
  dag: Readonly<Record<string, unknown>>;
  defaults: OverlayAttempts;
  tasks: Readonly<Record<string, OverlayAttempts & { env?: Readonly<Record<string, string>> | undefined }>>;
}

export interface OverlayAttempts {
  retries?: number | undefined;
  retry_delay_seconds?: number | undefined;
  execution_timeout_seconds?: number | undefined;
}

/** What came of parsing one file. Never rejects for what the file did: that is `importErrors` or `failure`. */
export interface ParseResult {
  dags: readonly ParsedDag[];
  importErrors: readonly ParseError[];
  warnings: readonly ParseWarning[];
  /**
   * Files below the workspace whose text the file's import ran (the DAG file itself, helper modules, package __init__
   * files), workspace-relative with `/`, sorted. Kept also when the import failed: saving one of them parses again.
   */
  files: readonly string[];
  /** Existing files below the workspace that template fields name (`bash_command="run.sh"`, includes found), as above. */
  templates: readonly string[];
  /**
   * Other files below the workspace that the import opened for reading (config.yaml of a DAG factory), and folders that the
   * file's own code listed (not the import system), the latter ending in `/`. What changes there changes the DAG.
   */
  reads: readonly string[];
  durationSeconds: number;
  /** The child gave no answer: `dags` and `importErrors` are empty then. */
  failure: ParseFailure | null;
}

export interface ParseFailure {
  kind: "timeout" | "memory" | "crash";
  /** For the user: what happened, with the limit or the signal and the last lines of stderr. */
  message: string;
}

/** One DAG of a file: Airflow's serialized DAG and the DagModel columns that need live Python objects. */
export interface ParsedDag {
  dagId: string;
  /** Airflow's serialized DAG, format 3, as Python wrote it. */
  serialized: JsonText;
  /** `SerializedDagModel.hash` of it. Must not depend on the absolute path of the file. */
  dagHash: string;
  /** Absolute path of the file that defines it: the parsed file, or `packed.zip/module.py` of an archive. */
  fileloc: string;
  displayName: string | null;
  description: string | null;
  /** Joined as Airflow's DagModel.owners has them: "airflow, me". */
  owners: string;
  tags: readonly string[];
  /** `timetable.type_name`, e.g. "cron", or the import path. */
  timetableType: string;
  timetableSummary: string;
  timetableDescription: string;
  timetablePeriodic: boolean;
  timetablePartitioned: boolean;
  /** JSON of the schedule's asset expression, or null. */
  assetExpression: JsonText | null;
  maxActiveTasks: number;
  maxActiveRuns: number | null;
  maxConsecutiveFailedDagRuns: number;
  hasTaskConcurrencyLimits: boolean;
  failFast: boolean;
  isPausedUponCreation: boolean | null;
  allowedRunTypes: readonly string[] | null;
  /** Text of the file, or the module, at `fileloc`, as it was parsed. */
  sourceCode: string;
}

export interface ParseError {
  /** Workspace-relative with `/`; a module of an archive is `packed.zip/module.py`. */
  filename: string;
  stacktrace: string;
}

export interface ParseWarning {
  /** A DAG's id, or null when it concerns the file. */
  dagId: string | null;
  /** Airflow's DagWarningType: "non-existent pool", "runtime varying value", "asset conflict", or a Python warning's category. */
  warningType: string;
  message: string;
}

/** How the workspace processor has files parsed; PythonRuntime implements it. */
export type ParseFile = (request: ParseRequest) => Promise<ParseResult>;
