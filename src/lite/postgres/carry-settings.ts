import { copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runCommand } from "../command.ts";
import type { Progress } from "../progress.ts";
import type { Identity } from "./identity.ts";
import { POSTGRES_ENVIRONMENT } from "./init-cluster.ts";
import { POSTGRESQL_CONF } from "./settings.ts";

export interface CarryOptions {
  /** The old cluster. */
  data: string;
  /** The new one, with settings as we make them. */
  fresh: string;
  newBin: string;
  newMajor: string;
  folder: string;
  identity: Identity;
  progress: Progress;
}

/** A user's own settings (postgresql.conf and what ALTER SYSTEM wrote) go on in the new cluster, unless it does not know them. */
export async function carrySettingsOver(options: CarryOptions): Promise<void> {
  const { data, fresh, identity, progress, newMajor } = options;
  for (const [name, unusable] of [
    ["postgresql.conf", (text: string) => `${POSTGRESQL_CONF}${commented(text)}`],
    ["postgresql.auto.conf", commented],
  ] as const) {
    const from = join(data, name);
    const to = join(fresh, name);
    if (!existsSync(from)) continue;
    const ours = readFileSync(to);
    copyFileSync(from, to);
    identity.give(to);
    const problem = await configurationProblem(options);
    if (problem === undefined) continue;
    writeFileSync(to, ours);
    const text = readFileSync(from, "utf8");
    writeFileSync(to, unusable(text));
    progress.note(
      `PostgreSQL ${newMajor} does not take the settings in ${name} (${problem}); they are kept there as comments`,
    );
  }
}

function commented(text: string): string {
  const lines = text.split("\n").filter((line) => line.trim() && !/^\s*(#|include\s+'leoflow\.conf')/.test(line));
  return `\n# Not taken over from the older PostgreSQL:\n${lines.map((line) => `# ${line}`).join("\n")}\n`;
}

/** The server reads its whole configuration and says what is wrong with it, without starting. */
async function configurationProblem({ newBin, fresh, folder, identity }: CarryOptions): Promise<string | undefined> {
  const command = identity.wrap([join(newBin, "postgres"), "-D", fresh, "-C", "max_connections"]);
  const result = await runCommand(command, { env: POSTGRES_ENVIRONMENT, cwd: folder });
  if (result.code === 0) return undefined;
  const [first = ""] = result.output.trim().split("\n");
  return first.replace(/^.*?(LOG|FATAL|ERROR):\s+/, "");
}
