import { posix, resolve } from "node:path";
import { expandHome, MULTI_TEAM_VARIABLE } from "../../kit/config.ts";
import { UserError } from "../../kit/user-error.ts";
import { isSkippedFolder } from "../workspace/discovery.ts";
import { DAGS_FOLDER } from "../workspace/bundles-in-workspace.ts";

export const BUNDLES_VARIABLE = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST";

export interface GitBundle {
  kind: "git";
  name: string;
  repoUrl: string;
  /** Branch, tag or commit. */
  trackingRef: string;
  /** Where in the repository the DAGs are; null: everywhere. */
  subdir: string | null;
  refreshSeconds: number;
}

export interface LocalBundle {
  kind: "local";
  name: string;
  /** Absolute. */
  path: string;
}

export type BundleSettings = GitBundle | LocalBundle;

export interface ReadBundles {
  bundles: BundleSettings[];
  /** The team of each bundle that has one; the workspace's own DAGs are the bundle dags-folder. */
  teams: Map<string, string>;
  /** What of the setting has no effect here, a line each. */
  warnings: string[];
}

const GIT = "airflow.providers.git.bundles.git.GitDagBundle";
const LOCAL = "airflow.dag_processing.bundles.local.LocalDagBundle";
/** `[dag_processor] refresh_interval`. */
const REFRESH_SECONDS = 300;
/** The name is a folder's. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_. -]*$/;

/** Airflow's `[dag_processor] dag_bundle_config_list`. Throws UserError for what cannot be meant. */
export function readBundleSettings(
  text: string | undefined,
  userHome: string,
  { multiTeam = false }: { multiTeam?: boolean } = {},
): ReadBundles {
  const read: ReadBundles = { bundles: [], teams: new Map(), warnings: [] };
  const list = text === undefined ? [] : parse(text);
  if (!Array.isArray(list)) throw wrong("it is not a list");
  for (const item of list as unknown[]) {
    const bundle = readBundle(item, userHome, read);
    if (bundle === null) continue;
    if (read.bundles.some(({ name }) => name.toLowerCase() === bundle.name.toLowerCase())) {
      throw wrong(`the name ${JSON.stringify(bundle.name)} appears more than once`);
    }
    read.bundles.push(bundle);
  }
  const [owned] = read.teams.keys();
  if (owned !== undefined && !multiTeam) {
    throw new UserError(`${BUNDLES_VARIABLE}: the bundle ${owned} has a team_name, and multi-team mode is off`, {
      fix: `set ${MULTI_TEAM_VARIABLE}=True or \`multi_team: true\` in config.yaml, or take team_name out`,
      exitCode: 2,
    });
  }
  return read;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw wrong(`it is not JSON: ${(error as Error).message}`);
  }
}

function readBundle(item: unknown, userHome: string, { teams, warnings }: ReadBundles): BundleSettings | null {
  if (!isRecord(item)) throw wrong(`${JSON.stringify(item)} is not an object with name, classpath and kwargs`);
  const { name, classpath, kwargs, team_name: team = null, ...more } = item;
  if (typeof name !== "string" || !NAME.test(name) || isSkippedFolder(name)) {
    throw wrong(`${JSON.stringify(name)} is not a name for a bundle: it becomes a folder of the workspace`);
  }
  if (typeof classpath !== "string") throw wrong(`the bundle ${name} has no classpath`);
  if (!isRecord(kwargs)) throw wrong(`the bundle ${name} has no kwargs`);
  if (team !== null && typeof team !== "string") {
    throw wrong(`team_name of the bundle ${name} is ${JSON.stringify(team)}, not a text`);
  }
  if (team) teams.set(name, team);
  const given = new Arguments(name, kwargs);
  let bundle: BundleSettings | null;
  if (classpath === LOCAL) bundle = localBundle(name, given, userHome);
  else if (classpath === GIT) bundle = gitBundle(name, given);
  else {
    warnings.push(
      `the DAG bundle ${name} is left out: ${classpath} is not supported, GitDagBundle and LocalDagBundle are`,
    );
    return null;
  }
  const unused = [...given.unused(), ...Object.keys(more).filter((key) => more[key] != null)];
  if (unused.length > 0) warnings.push(`the DAG bundle ${name}: without effect: ${unused.join(", ")}`);
  return bundle;
}

function localBundle(name: string, given: Arguments, userHome: string): LocalBundle | null {
  const path = given.text("path");
  given.number("refresh_interval");
  if (name === DAGS_FOLDER.name && path !== null) {
    throw wrong(`${name} is the workspace: set its folder with \`leoflow lite --workspace\`, not with a path`);
  }
  // Without a path it is Airflow's DAGs folder: the workspace, which is here in any case.
  return path === null ? null : { kind: "local", name, path: resolve(expandHome(path, userHome)) };
}

function gitBundle(name: string, given: Arguments): GitBundle {
  if (name === DAGS_FOLDER.name) throw wrong(`${name} is the workspace: give the git bundle another name`);
  const repoUrl = given.text("repo_url");
  const trackingRef = given.text("tracking_ref");
  const subdir = given.text("subdir");
  if (repoUrl === null) throw wrong(`the bundle ${name} has no repo_url (the host of a connection is not read)`);
  if (trackingRef === null) throw wrong(`the bundle ${name} has no tracking_ref: a branch, a tag or a commit`);
  const folder = subdir === null ? "." : posix.normalize(subdir).replace(/\/$/, "");
  if (posix.isAbsolute(folder) || folder === ".." || folder.startsWith("../")) {
    throw wrong(`the subdir of the bundle ${name} must be a folder inside the repository`);
  }
  const refreshSeconds = given.number("refresh_interval") ?? REFRESH_SECONDS;
  // What they do by default is what is done here.
  given.allow("submodules", false);
  given.allow("prune_dotgit_folder", true);
  return { kind: "git", name, repoUrl, trackingRef, subdir: folder === "." ? null : folder, refreshSeconds };
}

/** The kwargs of a bundle, and which of them nobody asked for. */
class Arguments {
  readonly #bundle: string;
  readonly #kwargs: Record<string, unknown>;
  readonly #used = new Set<string>();

  constructor(bundle: string, kwargs: Record<string, unknown>) {
    this.#bundle = bundle;
    this.#kwargs = kwargs;
  }

  text(name: string): string | null {
    const value = this.#take(name) ?? null;
    if (value === null || value === "") return null;
    if (typeof value !== "string" || /[\0\r\n]/.test(value)) throw this.#wrong(name, value, "a text");
    return value;
  }

  number(name: string): number | null {
    const value = this.#take(name) ?? null;
    if (value === null) return null;
    if (typeof value !== "number" || !(value > 0)) throw this.#wrong(name, value, "a number of seconds");
    return value;
  }

  allow(name: string, value: unknown): void {
    if (this.#kwargs[name] === value) this.#used.add(name);
  }

  unused(): string[] {
    return Object.keys(this.#kwargs).filter((name) => !this.#used.has(name) && this.#kwargs[name] !== null);
  }

  #take(name: string): unknown {
    this.#used.add(name);
    return this.#kwargs[name];
  }

  #wrong(name: string, value: unknown, expected: string): UserError {
    return wrong(`${name} of the bundle ${this.#bundle} is ${JSON.stringify(value)}, not ${expected}`);
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function wrong(reason: string): UserError {
  return new UserError(`${BUNDLES_VARIABLE}: ${reason}`, {
    fix:
      'use a JSON list such as [{"name": "team", "classpath": "' +
      GIT +
      '", "kwargs": {"repo_url": "https://…", "tracking_ref": "main"}}], or unset it',
    exitCode: 2,
  });
}
