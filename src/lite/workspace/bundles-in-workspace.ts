import { posix } from "node:path";

/** In the folder of a bundle: says that Leoflow keeps it, and where below it the bundle's DAGs are. Python reads it, too. */
export const BUNDLE_MARKER = ".leoflow-bundle";

/** What a DAG file belongs to, in Airflow's words. */
export interface BundleVersion {
  name: string;
  /** Commit; null where there are no versions. */
  version: string | null;
  /** Holds one file that somebody tries: its DAGs stay paused. */
  isTried?: boolean;
}

/** Airflow's name for the DAGs folder itself. */
export const DAGS_FOLDER: BundleVersion = { name: "dags-folder", version: null };

/** The bundles that are kept as folders of the workspace, as those see them who look for DAG files. */
export interface BundlesInWorkspace {
  /** By the bundle's folder: the folder its DAGs are in, the same or one below; both below the workspace. */
  readonly roots: ReadonlyMap<string, string>;
  /**
   * The bundle of a DAG file. Comes when no update is on its way: what is read after it is of one version as long as the
   * answer stays the same object.
   */
  of(relPath: string): Promise<BundleVersion>;
}

export const NO_BUNDLES: BundlesInWorkspace = { roots: new Map(), of: () => Promise.resolve(DAGS_FOLDER) };

/** The marker's place for a file that lies in the folder of a bundle; null for files of the workspace's root. */
export function markerFor(relPath: string): string | null {
  const [folder, ...rest] = relPath.split("/");
  return folder && rest.length > 0 ? posix.join(folder, BUNDLE_MARKER) : null;
}

export function isWithin(relPath: string, folder: string): boolean {
  return relPath === folder || relPath.startsWith(`${folder}/`);
}
