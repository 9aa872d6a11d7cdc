import { pino } from "pino";
import { silentProgress } from "../../src/lite/progress.ts";
import { finishSwap } from "../../src/lite/postgres/cluster-swap.ts";
import { upgradeCluster } from "../../src/lite/postgres/major-upgrade.ts";

interface Work {
  folder: string;
  /** Where it ends itself. */
  step: string;
  oldMajor: string;
  oldBin: string;
  newMajor: string;
  newBin: string;
}

// Brings a cluster to another major version, and dies on the way.
const { step, ...work } = JSON.parse(process.argv[2] ?? "") as Work;
finishSwap(work.folder);
await upgradeCluster({
  ...work,
  logger: pino({ level: "silent" }),
  progress: silentProgress,
  sync: false,
  onStep: (reached) => {
    if (reached === step) process.kill(process.pid, "SIGKILL");
  },
});
