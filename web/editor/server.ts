import { ask, request } from "../frame/api.ts";

export interface FileEntry {
  path: string;
  kind: "file" | "folder";
  bytes: number;
  read_only: boolean;
  ignored: boolean;
}

export interface OpenedFile {
  path: string;
  /** On the server's disk. */
  location: string;
  text: string;
  read_only: boolean;
  dags: { dag_id: string; dag_display_name: string }[];
}

export interface FileMatch {
  path: string;
  line: number;
  column: number;
  text: string;
}

export interface ImportError {
  filename: string;
  stack_trace: string;
}

const at = (path: string) => `/api/leoflow/files/${path.split("/").map(encodeURIComponent).join("/")}`;

export const listFiles = () => ask<{ files: FileEntry[]; truncated: boolean }>("/api/leoflow/files");

export const searchFiles = (text: string, signal: AbortSignal) =>
  ask<{ matches: FileMatch[]; truncated: boolean }>(
    `/api/leoflow/file-search?${new URLSearchParams({ q: text }).toString()}`,
    { signal },
  );

export async function readFile(path: string): Promise<OpenedFile & { tag: string }> {
  const { body, etag } = await request<OpenedFile>(at(path));
  return { ...body, tag: etag ?? "" };
}

/** Returns the new tag; fails with 412 when the file has another tag than this. */
export async function saveFile(path: string, text: string, tag: string): Promise<string> {
  const { etag } = await request(at(path), { method: "PUT", body: { text }, headers: { "if-match": tag } });
  return etag ?? "";
}

/** Fails with 409 when there is something of that name. */
export async function createFile(path: string, text: string): Promise<string> {
  const { etag } = await request(at(path), { method: "POST", body: { kind: "file", text } });
  return etag ?? "";
}

export const createFolder = (path: string) => ask<unknown>(at(path), { method: "POST", body: { kind: "folder" } });
export const renameFile = (path: string, to: string) => ask<unknown>(at(path), { method: "PATCH", body: { path: to } });
export const deleteFile = (path: string, recursive: boolean) =>
  ask<unknown>(`${at(path)}?recursive=${String(recursive)}`, { method: "DELETE" });

export const importErrors = async () =>
  (await ask<{ import_errors: ImportError[] }>("/api/v2/importErrors?limit=100")).import_errors;

/** The file of a DAG, below the workspace. */
export const fileOfDag = async (dagId: string) =>
  (await ask<{ relative_fileloc: string }>(`/api/v2/dags/${encodeURIComponent(dagId)}`)).relative_fileloc;
