/** Why a pushed project was not taken. */
export type PushRefusal =
  "damaged" | "too-large" | "mismatch" | "taken" | "in-the-way" | "import-error" | "unavailable";

export type PushOutcome =
  | { kind: "registered"; created: boolean; versionId: string; versionNumber: number }
  /** It is being parsed, or its dependencies are being installed. */
  | { kind: "pending" }
  | { kind: "refused"; reason: PushRefusal; message: string };

/** Where pushed projects go. A project is named by its DAG and the hash of its files. */
export interface PushedProjects {
  /** `chunks` are a gzipped tar of the project's folder. Waits for the parse, for a while. */
  push(dagId: string, filesHash: string, chunks: AsyncIterable<Uint8Array>): Promise<PushOutcome>;
  /** What came of it; null: it was never pushed, or something else has been since. */
  outcome(dagId: string, filesHash: string): Promise<PushOutcome | null>;
}
