import { ArchiveOutput } from "../../src/backup/archive-output.ts";
import { ArchiveWriter } from "../../src/backup/archive-writer.ts";
import type { BackupManifest } from "../../src/backup/manifest.ts";

/** A sound archive with whatever is in it: names ending in a slash are folders, "name -> target" are links, others are files. */
export async function craftArchive(
  file: string,
  entries: Record<string, string>,
  about: Partial<BackupManifest> = {},
): Promise<string> {
  const output = await ArchiveOutput.create(file);
  const writer = new ArchiveWriter(output);
  const mtimeUs = 1_700_000_000_000_000;
  for (const [name, content] of Object.entries(entries)) {
    const [path = "", target] = name.split(" -> ");
    if (target !== undefined) await writer.link({ name: path, mode: 0o777, mtimeUs }, target);
    else if (name.endsWith("/")) await writer.folder({ name, mode: 0o755, mtimeUs });
    else await writer.file({ name, mode: 0o644, mtimeUs }, Buffer.from(content));
  }
  const manifest = {
    manifest_version: 1,
    leoflow_version: "0.0.9",
    schema_version: 0,
    created_at: "2026-05-28T09:30:00Z",
    home: "/home/elsewhere/.leoflow",
    workspace: "/home/elsewhere/leoflow",
    ...about,
  };
  await writer.finish(manifest, mtimeUs);
  await output.close();
  return file;
}
