import type { DagOutcome } from "./outcome.ts";

/** Where Leoflow means to differ from Airflow: what it makes of the recording, and why. */
export const intendedDifferences: Readonly<Record<string, (recorded: DagOutcome) => DagOutcome>> = {
  // A run stays with the version of the DAG that it began with, as Airflow does it for bundles with versions; there a local
  // folder has none, so that the new version's task came, and ran, with the first clear already.
  evolves: withTasks("r1", { comes: "success 1/0" }),
  // Its database has no place for names of more than 250 characters, so that the task fails; here a long name is no reason to.
  map_long_name: (recorded) => ({
    ...recorded,
    runs: recorded.runs.map((run) => ({
      ...run,
      state: "success",
      tasks: { "long[0]": `success 1/0 "${"x".repeat(300)}"` },
    })),
  }),
};

function withTasks(runId: string, tasks: Record<string, string>): (recorded: DagOutcome) => DagOutcome {
  return (recorded) => ({
    ...recorded,
    runs: recorded.runs.map((run) => (run.run === runId ? { ...run, tasks: { ...run.tasks, ...tasks } } : run)),
  });
}
