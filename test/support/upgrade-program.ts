import { pino } from "pino";
import { startingPostgres, withHomeToItself } from "../../src/lite/datastore.ts";
import { resolvePaths } from "../../src/lite/paths.ts";
import { upgradeSchema } from "../../src/lite/upgrade/apply.ts";
import type { Migration } from "../../src/store/migrations.ts";

interface Work {
  home: string;
  migrations: Migration[];
}

// Upgrades a home and says each step on a line, to be killed at one of them.
const { home, migrations } = JSON.parse(process.argv[2] ?? "") as Work;
const paths = resolvePaths(home);
const say = (step: string) => console.log(JSON.stringify({ step }));
const logger = pino({ level: "silent" });
const progress = {
  step: async <T>(title: string, work: (detail: (text: string) => void) => Promise<T>) => {
    say(title);
    return work((text) => say(`${title}: ${text}`));
  },
  note: say,
};
try {
  await withHomeToItself(paths, () =>
    startingPostgres({ paths, logger, progress, runtimeDir: undefined }, ({ database, bin }) =>
      upgradeSchema({ paths, database, bin, logger, progress, migrations }),
    ),
  );
  say("done");
} catch (error) {
  say(`error: ${(error as Error).message}`);
}
