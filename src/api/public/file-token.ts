export interface DagFile {
  bundleName: string;
  relativeFileloc: string;
}

/**
 * Names a DAG file in a URL. Airflow signs its token; ours is plain, because what it names is looked up among the known files
 * before anything is done with it.
 */
export function encodeFileToken(file: DagFile): string {
  const payload = { bundle_name: file.bundleName, relative_fileloc: file.relativeFileloc };
  return Buffer.from(JSON.stringify(payload)).toString("base64url");
}

/** Null for what is no token. */
export function decodeFileToken(token: string): DagFile | null {
  try {
    const payload = JSON.parse(Buffer.from(token, "base64url").toString("utf8")) as Record<string, unknown>;
    const { bundle_name: bundleName, relative_fileloc: relativeFileloc } = payload;
    return typeof bundleName === "string" && typeof relativeFileloc === "string"
      ? { bundleName, relativeFileloc }
      : null;
  } catch {
    return null;
  }
}
