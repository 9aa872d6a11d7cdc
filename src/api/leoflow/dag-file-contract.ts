/** A DAG file as it was parsed for somebody who tries it. */
export interface OpenedDagFile {
  dagIds: readonly string[];
  /** Python's traces; null: it could be imported. */
  error: string | null;
  /** DAGs that it defines, and that stay with the file that defined them first. */
  conflicts: readonly { dagId: string; owner: string }[];
  /** What was brought in for this leaves again. Comes to an end once. */
  close(): Promise<void>;
}

/** Parses a file of this machine, in the workspace or not, as it is now. `path` is absolute. Throws FileRefusal. */
export type OpenDagFile = (path: string) => Promise<OpenedDagFile>;
