const PATTERN = /^leoflow-backup-\d{4}-\d\d-\d\dT\d{6}Z\.tar\.gz(\.age)?$/;

/** `leoflow-backup-2026-05-28T093000Z.tar.gz` */
export function backupName(now: Date, encrypted: boolean): string {
  return `leoflow-backup-${timestamp(now)}.tar.gz${encrypted ? ".age" : ""}`;
}

/** `2026-05-28T093000Z`: sorts by time and holds nothing that a file name must not. */
export function timestamp(now: Date): string {
  return `${now.toISOString().slice(0, 19).replaceAll(":", "")}Z`;
}

/** Whether a file is named as we name backups. */
export function isBackupName(name: string): boolean {
  return PATTERN.test(name);
}
