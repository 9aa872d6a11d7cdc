import { dagPath, runPath, shown, taskPath, type Check } from "./actions.ts";

/** Pauses a DAG beside the tab that tells why it does not run: it says so without a reload. A link in it leads on. */
export const why: Check = {
  name: "why it is not running",
  async run(visit, subject) {
    const { page } = visit;
    const reason = (code: string) => page.frameLocator('iframe[title="Why"]').locator(`[data-code="${code}"]`);
    const pauseDag = (isPaused: boolean) =>
      page.request.patch(`/api/v2${dagPath(subject)}`, { data: { is_paused: isPaused } });
    await visit.open(dagPath(subject));
    await page.getByRole("link", { name: "Why", exact: true }).click();
    await shown(reason("next_run"));
    await pauseDag(true);
    try {
      await shown(reason("paused").filter({ hasText: `DAG ${subject.dagId} is paused.` }));
      await visit.screenshot("why-dag");
    } finally {
      await pauseDag(false);
    }
    await visit.open("/dags/tour_follows/plugin/why");
    await shown(
      reason("assets").filter({ hasText: "It waits for updates of tour_other; updated already: tour_numbers." }),
    );
    await visit.open(`${runPath(subject)}/plugin/why-run`);
    await shown(reason("run_finished").filter({ hasText: "ended as success" }));
    await visit.open(`${taskPath(subject)}/plugin/why-task`);
    await shown(reason("finished").filter({ hasText: `${subject.taskId} ended as success` }));
    await visit.screenshot("why-task");
    await reason("finished").getByRole("link", { name: subject.taskId }).click();
    await page.waitForURL((url) => url.pathname === taskPath(subject));
    await visit.settle();
  },
};
