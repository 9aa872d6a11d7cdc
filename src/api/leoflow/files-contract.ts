/** Why a file of the workspace was not read or changed. The message is for the user, in whole sentences. */
export class FileRefusal extends Error {
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

export type RefusalReason =
  | "invalid-path"
  | "outside"
  | "not-found"
  | "exists"
  /** Another has changed the file since it was read. */
  | "changed"
  | "read-only"
  | "not-text"
  | "too-large"
  | "not-empty"
  | "no-space";

export interface FileEntry {
  /** Below the workspace, with `/`. */
  path: string;
  kind: "file" | "folder";
  bytes: number;
  /** Belongs to a git bundle, or this user of the system may not write it. */
  readOnly: boolean;
  /** An `.airflowignore` keeps it from being looked at for DAGs. */
  ignored: boolean;
}

export interface FileListing {
  entries: FileEntry[];
  /** Not all is in it. */
  truncated: boolean;
}

export interface TextFile {
  path: string;
  /** Absolute, as Python names it in its traces. */
  location: string;
  text: string;
  /** Of the content. */
  tag: string;
  readOnly: boolean;
}

export interface FileMatch {
  path: string;
  /** From 1. */
  line: number;
  column: number;
  text: string;
}

/** The files of the workspace, for the editor. Paths are below it, with `/`. Everything throws FileRefusal. */
export interface WorkspaceFiles {
  list(): Promise<FileListing>;
  read(path: string): Promise<TextFile>;
  /** Lines that hold this text, in whatever case. */
  search(text: string): Promise<{ matches: FileMatch[]; truncated: boolean }>;
  /** Replaces the content, if it still has this tag. Returns the new tag. */
  write(path: string, text: string, tag: string): Promise<string>;
  /** Makes a file, and the folders above it. Returns its tag. */
  createFile(path: string, text: string): Promise<string>;
  createFolder(path: string): Promise<void>;
  /** Also moves; never replaces anything. */
  rename(from: string, to: string): Promise<void>;
  /** A folder that holds something only when `recursive`. */
  remove(path: string, recursive: boolean): Promise<void>;
}
