import type { Command } from "commander";
import type { RestoreResult } from "../lite/restore/restore.ts";
import { givenBackup } from "./backup-passphrase.ts";
import { runCommandWork, type CommandContext } from "./command-context.ts";

interface Options {
  input: string;
  force?: boolean;
  dryRun?: boolean;
  workspace?: string;
  passphraseFile?: string;
  /** Commander: false for --no-snapshot. */
  snapshot: boolean;
  json?: boolean;
}

/** `leoflow lite restore`. */
export function addRestoreCommand(lite: Command): void {
  lite
    .command("restore")
    .description("Replace this installation by what a backup holds. It happens whole or not at all.")
    .requiredOption("-i, --input <file>", "the backup")
    .option("--force", "also over an installation with runs or files; those are saved to ~/.leoflow/snapshots first")
    .option("--no-snapshot", "with --force: do not save what is replaced")
    .option("--dry-run", "verify the backup and say what would happen")
    .option("--workspace <folder>", "put the workspace there (default: its old place, in your home folder)")
    .option("--passphrase-file <file>", "of an encrypted backup: the passphrase is this file's first line")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      `
Stop Leoflow first. The backup's login, keys, workspace, runs, variables and connections take the place of those here.
A backup brings DAGs, which are programs: restore only what you trust.

Examples:
  leoflow lite restore -i leoflow-backup-2026-05-28T093000Z.tar.gz
  leoflow lite restore -i ~/snap-before-upgrade.tar.gz --force
  leoflow lite restore -i backup.tar.gz --dry-run
  LEOFLOW_BACKUP_PASSPHRASE=… leoflow lite restore -i backup.tar.gz.age
`,
    )
    .action((options: Options) => runCommandWork((context) => run(context, options)));
}

async function run(context: CommandContext, options: Options): Promise<void> {
  const { environment, terminal } = context;
  const [{ restoreInstallation }, { silentProgress }] = await Promise.all([
    import("../lite/restore/restore.ts"),
    import("../lite/progress.ts"),
  ]);
  const { archive, passphrase } = await givenBackup(options, environment);
  const say = (line: string) => options.json || terminal.write(`${line}\n`);
  const result = await restoreInstallation({
    ...context,
    ...(options.json ? { progress: silentProgress } : {}),
    archive,
    passphrase,
    force: options.force ?? false,
    dryRun: options.dryRun ?? false,
    workspace: options.workspace,
    snapshot: options.snapshot,
    say,
  });
  context.logger.info({ archive, restored: result.restored, snapshot: result.snapshot }, "a backup was read");
  if (options.json) terminal.write(`${JSON.stringify(asJson(archive, result), null, 2)}\n`);
  else for (const line of options.dryRun ? dryRunLines(result) : doneLines(result)) say(line);
}

function doneLines({ workspace, parts, rows, snapshot }: RestoreResult): string[] {
  return [
    ...(parts.config ? ["✓ config.yaml restored"] : []),
    ...(parts.setup ? ["✓ setup.json restored"] : []),
    ...(workspace ? [`✓ workspace restored to ${workspace.path} (${workspace.files} files)`] : []),
    ...(rows ? [`✓ datastore restored (${rows.dag_run} DAG runs, ${rows.task_instance} task instances)`] : []),
    ...(snapshot === undefined ? [] : [`  what was there before: ${snapshot}`]),
    "✓ restore complete — run `leoflow lite` to start.",
  ];
}

function dryRunLines({ workspace, parts, replaces }: RestoreResult): string[] {
  const what = ["the datastore", ...(parts.config ? ["config.yaml"] : []), ...(parts.setup ? ["setup.json"] : [])];
  return [
    `  would restore ${what.join(", ")}${parts.versions ? " and the sources of DAG versions" : ""}`,
    ...(workspace ? [`  would restore the workspace to ${workspace.path} (${workspace.files} files)`] : []),
    ...(replaces.rows ? ["  would replace the runs, variables and connections of this installation"] : []),
    ...(replaces.files && workspace ? [`  would replace the files in ${workspace.path}`] : []),
    "✓ the backup is sound; nothing was changed",
  ];
}

function asJson(archive: string, { manifest, restored, workspace, parts, rows, snapshot, replaces }: RestoreResult) {
  return { archive, restored, manifest, workspace, parts, rows, snapshot, replaces };
}
