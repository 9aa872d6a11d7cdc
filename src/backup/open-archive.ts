import { verifyArchive, type VerifiedArchive } from "./archive.ts";
import { refuseNewerSchema } from "./schema-refusal.ts";

export interface ArchiveToRestore {
  archive: string;
  passphrase?: string | undefined;
  /** The lines that the contract promises. */
  say: (line: string) => void;
  signal?: AbortSignal | undefined;
}

type Step = <T>(title: string, work: (detail: (text: string) => void) => Promise<T>) => Promise<T>;

/** How a restore begins: reads the whole archive once, says what it is, and refuses one that this program cannot restore. */
export async function openArchive(
  { archive, passphrase, say, signal }: ArchiveToRestore,
  step: Step,
): Promise<VerifiedArchive> {
  say(`▸ reading manifest from ${archive}`);
  const verified = await step("Verify the archive", (detail) =>
    verifyArchive(archive, { passphrase, signal, progress: detail }),
  );
  const { manifest } = verified;
  say(
    `  archive: leoflow=${manifest.leoflow_version} schema=${manifest.schema_version} created=${manifest.created_at}`,
  );
  refuseNewerSchema(manifest);
  return verified;
}
