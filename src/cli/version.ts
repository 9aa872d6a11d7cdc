import type { Command } from "commander";
import { programVersion } from "../kit/version.ts";
import { loadMigrations } from "../store/migrations.ts";

const AIRFLOW_VERSION = "3.3.2";

/** `leoflow version`. */
export function addVersionCommand(program: Command): void {
  program
    .command("version")
    .description("Print the versions of Leoflow and of what it speaks.")
    .option("--json", "as JSON")
    .addHelpText("after", "\nExamples:\n  leoflow version\n  leoflow version --json\n")
    .action((options: { json?: boolean }) => {
      const facts = {
        version: programVersion,
        airflow_version: AIRFLOW_VERSION,
        schema_version: loadMigrations().at(-1)?.version ?? 0,
        node_version: process.versions.node,
        platform: `${process.platform}-${process.arch}`,
      };
      console.log(
        options.json
          ? JSON.stringify(facts, null, 2)
          : `leoflow ${facts.version} (Airflow ${facts.airflow_version}, schema ${facts.schema_version}, Node ${facts.node_version}, ${facts.platform})`,
      );
    });
}
