import { resolve } from "node:path";
import type { Command } from "commander";
import type { ExternalRestoreResult } from "../backup/external-restore.ts";
import { expandHome } from "../kit/config.ts";
import { UserError } from "../kit/user-error.ts";
import { givenBackup } from "./backup-passphrase.ts";
import { runCommandWork, type CommandContext } from "./command-context.ts";

interface Options {
  input: string;
  databaseUrl?: string;
  workspace?: string;
  configOut?: string;
  force?: boolean;
  dryRun?: boolean;
  passphraseFile?: string;
  json?: boolean;
}

/** `leoflow-server restore`. */
export function addServerRestoreCommand(program: Command): void {
  program
    .command("restore")
    .summary("load a backup of Leoflow Lite into a server's PostgreSQL")
    .description("Load a backup of Leoflow Lite into a server's PostgreSQL. It happens whole or not at all.")
    .requiredOption("-i, --input <file>", "the backup")
    .option("--database-url <url>", "where to (default: LEOFLOW_DATABASE_URL, which no list of processes shows)")
    .option("--workspace <folder>", "write the DAGs into this new or empty folder")
    .option("--config-out <file>", "write the backup's config.yaml, with its keys, into this new file")
    .option("--force", "also where the database holds data; that is kept in a schema of its own")
    .option("--dry-run", "verify the backup, look at the database and change nothing")
    .option("--passphrase-file <file>", "of an encrypted backup: the passphrase is this file's first line")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      `
Stop the servers that use the database first. No psql is needed.

Examples:
  leoflow-server restore -i backup.tar.gz --database-url postgres://leoflow:secret@db:5432/leoflow
  LEOFLOW_DATABASE_URL=… leoflow-server restore -i backup.tar.gz --workspace /srv/dags --config-out keys.yaml
`,
    )
    .action((options: Options) => runCommandWork((context) => run(context, options)));
}

async function run(context: CommandContext, options: Options): Promise<void> {
  const { environment, terminal, progress, signal } = context;
  const databaseUrl = options.databaseUrl ?? environment.databaseUrl;
  if (databaseUrl === undefined) {
    throw new UserError("no database is named", {
      fix: "set LEOFLOW_DATABASE_URL or give --database-url postgres://user:password@host:5432/database",
      exitCode: 2,
    });
  }
  const { restoreExternally } = await import("../backup/external-restore.ts");
  const pathOf = (path: string) => resolve(expandHome(path, environment.userHome));
  const { archive, passphrase } = await givenBackup(options, environment);
  const say = (line: string) => void (options.json || terminal.write(`${line}\n`));
  const result = await restoreExternally({
    archive,
    passphrase,
    databaseUrl,
    workspace: options.workspace === undefined ? undefined : pathOf(options.workspace),
    configOut: options.configOut === undefined ? undefined : pathOf(options.configOut),
    force: options.force ?? false,
    dryRun: options.dryRun ?? false,
    say,
    step: (title, work) => (options.json ? work(() => undefined) : progress.step(title, work)),
    signal,
  });
  if (options.json) terminal.write(`${JSON.stringify({ archive, ...result }, null, 2)}\n`);
  else for (const line of linesOf(result)) say(line);
}

function linesOf({
  restored,
  database,
  rows,
  workspace,
  replaced,
  secrets,
  configFile,
}: ExternalRestoreResult): string[] {
  if (!restored) return [`✓ the backup is sound and would go into ${database}; nothing was changed`];
  return [
    `✓ datastore restored to ${database} (${rows?.dag_run} DAG runs, ${rows?.task_instance} task instances)`,
    ...(workspace ? [`✓ workspace restored to ${workspace.path} (${workspace.files} files)`] : []),
    ...(replaced === undefined
      ? []
      : [`  what was there before is in the schema ${replaced}; \`drop schema ${replaced} cascade\` removes it`]),
    ...(secrets.length === 0
      ? []
      : [
          `! the server's configuration needs the backup's ${secrets.join(" and ")}: without fernet_key stored connections cannot be read`,
          configFile === undefined
            ? "  they are in the backup's config.yaml; --config-out FILE writes it"
            : `  they are in ${configFile}: keep it safe, or delete it once they are in the server's configuration`,
        ]),
    "✓ restore complete",
  ];
}
