import { removeOlder, writeSnapshot, type SnapshotOptions } from "../snapshots.ts";

export interface SaveOptions extends SnapshotOptions {
  /** The folder whose content will be replaced. */
  workspace: string;
  /** The archive that is being restored, which may be one of these. */
  restoring: string;
}

/** Writes the whole installation, as it is before a restore, into an archive among the snapshots; the last three stay. */
export async function saveReplaced(options: SaveOptions): Promise<string> {
  const { paths, workspace, restoring } = options;
  const kind = "before-restore";
  const { file } = await writeSnapshot(options, { kind, workspace, skipUnreadable: true });
  removeOlder(paths, new RegExp(`^${kind}$`), file, restoring);
  return file;
}
