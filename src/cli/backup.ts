import { existsSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import type { BackupResult } from "../backup/create-backup.ts";
import { expandHome, type Environment } from "../kit/config.ts";
import { UserError } from "../kit/user-error.ts";
import type { LeoflowPaths } from "../lite/paths.ts";
import { newBackupPassphrase } from "./backup-passphrase.ts";
import { runCommandWork, type CommandContext } from "./command-context.ts";
import { LiveLine } from "./live-line.ts";

/** More of them go into --json only. */
const SHOWN_WARNINGS = 20;

interface Options {
  output?: string;
  force?: boolean;
  encrypt?: boolean;
  passphraseFile?: string;
  /** Commander: a path, false for --no-workspace, else undefined or true. */
  workspace?: string | boolean;
  skipUnreadable?: boolean;
  json?: boolean;
}

/** `leoflow lite backup`. */
export function addBackupCommand(lite: Command): void {
  lite
    .command("backup")
    .description(
      "Write database, settings, keys and workspace into one file. Works while Leoflow runs and while it is stopped.",
    )
    .option("-o, --output <file>", "where to (default: ./leoflow-backup-<UTC time>.tar.gz)")
    .option("--force", "write over a file of that name")
    .option("--encrypt", "encrypt with a passphrase (age format), asked for on a terminal")
    .option("--passphrase-file <file>", "encrypt with the passphrase in this file's first line")
    .option("--workspace <folder>", "folder with your DAGs, where Leoflow was started with --workspace")
    .option("--no-workspace", "without the workspace's files")
    .option("--skip-unreadable", "leave out files that cannot be read, with a warning")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      `
The file holds your passwords and keys: keep it as safe as ~/.leoflow, or encrypt it.

Examples:
  leoflow lite backup
  leoflow lite backup --output ~/snap-before-upgrade.tar.gz
  leoflow lite backup --encrypt
  LEOFLOW_BACKUP_PASSPHRASE=… leoflow lite backup --encrypt --json
`,
    )
    .action((options: Options) => runCommandWork((context) => run(context, options)));
}

async function run(context: CommandContext, options: Options): Promise<void> {
  const { environment, paths, terminal } = context;
  const workspace = await checkInstall(paths, environment, options);
  const encrypted = options.encrypt === true || options.passphraseFile !== undefined;
  const passphrase = encrypted ? await newBackupPassphrase(options.passphraseFile, environment) : undefined;
  const [{ createBackup }, { backupName }, { checkOutput }, { withDatastore }] = await Promise.all([
    import("../backup/create-backup.ts"),
    import("../backup/backup-name.ts"),
    import("../backup/output-file.ts"),
    import("../lite/datastore.ts"),
  ]);
  const file = outputFile(options.output, environment, backupName(new Date(), encrypted));
  checkOutput(resolve(file), options.force ?? false);
  const line = new LiveLine(terminal, options.json === true);
  const phases = {
    datastore: "snapshotting datastore via pg_dump …",
    files: `bundling archive ${file} …`,
    encryption: "encrypting …",
  };
  let result: BackupResult;
  try {
    result = await withDatastore({ ...context, clusterAsItIs: true }, "back up", ({ database, bin }) =>
      createBackup({
        file: resolve(file),
        overwrite: options.force,
        datastore: { database, bin },
        config: paths.config,
        setup: existsSync(paths.setup) ? paths.setup : undefined,
        workspace,
        withoutWorkspaceFiles: options.workspace === false,
        versions: paths.versions,
        home: paths.home,
        passphrase,
        skipUnreadable: options.skipUnreadable,
        onPhase: (phase) => line.say(`▸ ${phases[phase]}`),
        progress: (text) => line.show(`  ${text}`),
        signal: context.signal,
      }),
    );
  } finally {
    line.end();
  }
  const { manifest, bytes, warnings } = result;
  const { entries, ...about } = manifest;
  context.logger.info({ file: resolve(file), bytes, warnings: warnings.length }, "a backup was written");
  if (options.json) {
    const facts = {
      file: resolve(file),
      bytes,
      encrypted,
      manifest: about,
      entries: Object.keys(entries).length,
      warnings,
    };
    terminal.write(`${JSON.stringify(facts, null, 2)}\n`);
    return;
  }
  for (const warning of warnings.slice(0, SHOWN_WARNINGS)) line.say(`! ${warning}`);
  if (warnings.length > SHOWN_WARNINGS) line.say(`! and ${warnings.length - SHOWN_WARNINGS} more; --json lists all`);
  line.say(`✓ backup written: ${file} (${bytes} bytes)`);
  line.say(`  manifest: ${JSON.stringify(about)}`);
}

/** Whether there is something to back up. Returns the workspace. */
async function checkInstall(paths: LeoflowPaths, environment: Environment, options: Options): Promise<string> {
  if (!existsSync(paths.home)) {
    throw new UserError(`no Lite install found at ${paths.home} — run \`leoflow setup\` first`, {
      fix: "or set LEOFLOW_HOME to the installation you mean",
    });
  }
  const { readConfigFile } = await import("../lite/config-file.ts");
  const config = readConfigFile(paths, environment);
  if (!config) {
    throw new UserError(`could not read ${paths.home}/config.yaml`, {
      fix: "run `leoflow setup`, or set LEOFLOW_HOME to the installation you mean",
    });
  }
  const asked = typeof options.workspace === "string" ? options.workspace : environment.workspace;
  if (asked !== undefined) return resolve(expandHome(asked, environment.userHome));
  return config.workspace ?? join(environment.userHome, "leoflow");
}

/** The default name in this folder, or in the folder that is named. */
function outputFile(asked: string | undefined, { userHome }: Environment, name: string): string {
  if (asked === undefined) return `./${name}`;
  const path = expandHome(asked, userHome);
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? path.endsWith("/");
  return isFolder ? join(path, name) : path;
}
