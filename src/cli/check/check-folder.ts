import { realpathSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { systemClock } from "../../kit/clock.ts";
import { createLogger } from "../../kit/logger.ts";
import { UserError } from "../../kit/user-error.ts";
import { DagFileFinder, isArchive, type Project } from "../../lite/workspace/discovery.ts";
import { withFileParser, type FileParser, type ProjectParse } from "../../lite/workspace/project-parser.ts";
import type { KeptNames } from "../../store/kept-names.ts";
import type { CommandContext } from "../command-context.ts";
import { LiveLine } from "../live-line.ts";
import { paint, type Terminal } from "../terminal-progress.ts";
import { differencesOf, namesOf } from "./dag-needs.ts";
import { packageOf } from "./packages.ts";
import { whatIsThere } from "./what-is-there.ts";

export interface CheckedDag {
  dag_id: string;
  /** Named, and not here. */
  missing: { connections: string[]; variables: string[]; pools: string[] };
  /** What runs otherwise than under Airflow, a line each. */
  different: string[];
}

export interface CheckedFile {
  /** Below the folder. */
  file: string;
  /** The last line of Python's trace, or why it was not imported; null: it was. */
  error: string | null;
  /** Packages to install; modules that were Airflow 2's are in `removed`. */
  install: string[];
  removed: string[];
  /** Named anywhere in it, and not here. */
  missing: { connections: string[]; variables: string[] };
  dags: CheckedDag[];
}

interface Checked {
  folder: string;
  files: CheckedFile[];
  /** What of the folder was left out, and why. */
  problems: string[];
}

/** What Python files name; see leoflow_runtime/survey.py. */
interface Survey {
  modules: string[];
  connections: string[];
  variables: string[];
}

/** Checks all DAG files below a folder and prints what was found. */
export async function checkFolder(
  context: CommandContext,
  path: string,
  { json = false }: { json?: boolean },
): Promise<void> {
  const folder = folderAt(path);
  const found = await new DagFileFinder(folder, "glob").scan();
  if (found.dagFiles.size === 0) {
    throw new UserError(`${path} has no DAG files`, {
      fix: 'name the folder that holds them; a DAG file names both "airflow" and "dag"',
    });
  }
  const there = await whatIsThere(context);
  const { terminal } = context;
  const live = new LiveLine(terminal, json);
  const kit = { logger: createLogger({ level: "silent" }), clock: systemClock };
  const files = await withFileParser(kit, context, folder, async (parser) => {
    const checked: CheckedFile[] = [];
    for (const [file, project] of found.dagFiles) {
      live.show(`  ${checked.length + 1} of ${found.dagFiles.size}: ${file}`);
      const one = await checkFile(parser, { folder, file, project, there });
      // An archive of data.
      if (!isArchive(file) || one.dags.length > 0 || one.error !== null) checked.push(one);
    }
    return checked;
  });
  live.end();
  const checked = { folder, files, problems: found.problems };
  terminal.write(json ? `${JSON.stringify(checked, null, 2)}\n` : textOf(terminal, checked));
  if (files.some((file) => !isReady(file))) process.exitCode = 1;
}

function folderAt(path: string): string {
  const full = resolve(path);
  const isFolder = statSync(full, { throwIfNoEntry: false })?.isDirectory();
  if (isFolder) return realpathSync(full);
  throw new UserError(isFolder === undefined ? `there is no ${path}` : `${path} is not a folder`, {
    fix: "name the folder of your DAG files",
    exitCode: 2,
  });
}

interface Asked {
  folder: string;
  file: string;
  project: Project | null;
  there: KeptNames;
}

async function checkFile(parser: FileParser, { folder, file, project, there }: Asked): Promise<CheckedFile> {
  const parse = await parser.parse(file, project).catch((error: unknown) => {
    if (error instanceof UserError) return error;
    throw error;
  });
  if (parse instanceof UserError) {
    const missing = { connections: [], variables: [] };
    return { file, error: parse.message, install: [], removed: [], missing, dags: [] };
  }
  const paths = parse.files.length > 0 ? [...parse.files] : [file];
  const surveys = (await parser.request({ kind: "survey", root: folder, paths })) as Record<string, Survey>;
  const all = Object.values(surveys);
  // A project's own environment has what its leoflow.yaml asks for.
  const hasOwn = project?.outcome.kind === "read" && project.outcome.project.dependencies.length > 0;
  const modules = hasOwn ? [] : [...new Set(all.flatMap((survey) => survey.modules))];
  const install = new Set(modules.flatMap((module) => packageOf(module) ?? []));
  const named = {
    connections: all.flatMap((survey) => survey.connections),
    variables: all.flatMap((survey) => survey.variables),
  };
  return {
    file,
    error: errorOf(parse),
    install: [...install].sort(),
    removed: modules.filter((module) => packageOf(module) === null).sort(),
    missing: {
      connections: absent(named.connections, there.connections),
      variables: absent(named.variables, there.variables),
    },
    dags: parse.dags.map(({ dagId, serialized }) => {
      const names = namesOf(serialized);
      return {
        dag_id: dagId,
        missing: {
          connections: absent([...named.connections, ...names.connections], there.connections),
          variables: absent(named.variables, there.variables),
          pools: absent(names.pools, there.pools),
        },
        different: differencesOf(serialized),
      };
    }),
  };
}

function absent(named: readonly string[], there: readonly string[]): string[] {
  const known = new Set(there.flatMap((name) => [name, name.toLowerCase()]));
  return [...new Set(named)].filter((name) => !known.has(name) && !known.has(name.toLowerCase())).sort();
}

function errorOf({ failure, importErrors }: ProjectParse): string | null {
  const trace = failure?.message ?? importErrors.map(({ stacktrace }) => stacktrace).join("\n");
  return trace.trim().split("\n").at(-1) || null;
}

function isReady({ error, install, removed, missing, dags }: CheckedFile): boolean {
  return (
    error === null &&
    install.length + removed.length + missing.connections.length + missing.variables.length === 0 &&
    dags.every((dag) => Object.values(dag.missing).every((names) => names.length === 0))
  );
}

function textOf(terminal: Terminal, { files, problems }: Checked): string {
  const lines: string[] = [];
  const say = (indent: number, text: string) => lines.push(`${"  ".repeat(indent)}${text}`);
  for (const checked of files) {
    const { file, error, install, removed, dags } = checked;
    const [mark, colour] = error !== null ? ["✗", "31"] : isReady(checked) ? ["✓", "32"] : ["!", "33"];
    say(1, `${paint(terminal, colour, mark)} ${file}`);
    if (error !== null) say(3, paint(terminal, "31", error));
    if (install.length > 0) say(3, `install: ${install.join(" ")}`);
    for (const module of removed) say(3, `${module} is Airflow 2's: import it from where Airflow 3 has it`);
    const sayMissing = (missing: Readonly<Record<string, readonly string[]>>) => {
      for (const [kind, names] of Object.entries(missing)) {
        if (names.length > 0) say(3, `${kind} missing here: ${names.join(", ")}`);
      }
    };
    if (dags.length === 0) sayMissing(checked.missing);
    for (const { dag_id: dagId, missing, different } of dags) {
      say(2, paint(terminal, "1", dagId));
      sayMissing(missing);
      for (const difference of different) say(3, paint(terminal, "2", difference));
    }
  }
  for (const problem of problems) say(1, `${paint(terminal, "33", "!")} ${problem}`);
  const dags = files.reduce((count, file) => count + file.dags.length, 0);
  const ready = files.filter(isReady).length;
  const broken = files.filter(({ error }) => error !== null).length;
  const told = [`${ready} ready`, `${files.length - ready - broken} in need of something`, `${broken} not importable`];
  lines.push("", `  ${dags} DAGs in ${files.length} files: ${told.join(", ")}`);
  return `\n${lines.join("\n")}\n`;
}
