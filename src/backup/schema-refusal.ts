import { UserError } from "../kit/user-error.ts";
import { loadMigrations } from "../store/migrations.ts";
import type { BackupManifest } from "./manifest.ts";

/** `--force` does not change this: an older Leoflow cannot read such a database. */
export function refuseNewerSchema({ schema_version: version }: BackupManifest): void {
  const newest = loadMigrations().at(-1)?.version ?? 0;
  if (version <= newest) return;
  throw new UserError(
    `backup was taken on a newer schema (version ${version}) than this binary supports (${newest}); upgrade leoflow before restoring this archive`,
    { fix: "install the newest Leoflow and run the same command again; --force does not help here" },
  );
}

/** The dump must be what the manifest calls it. */
export function refuseOtherSchema(found: number, { schema_version: promised }: BackupManifest): void {
  if (found === promised) return;
  throw new UserError(`the archive's datastore is at schema version ${found}, but its manifest says ${promised}`, {
    fix: "use another backup; nothing was changed",
  });
}
