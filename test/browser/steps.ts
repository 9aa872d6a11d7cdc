import { dialog, shown, text, type Check } from "./actions.ts";

const DAG = "/dags/tour_steps";

/** What changes while a run goes on appears without a reload: in the grid, the graph, a log, the lists and at home. */
export const steps: Check = {
  name: "a run that goes on",
  async run(visit) {
    const { page } = visit;
    const step = async (value: number) => {
      const change = { data: { key: "tour_step", value: String(value) } };
      const answer = await page.request.patch("/api/v2/variables/tour_step", change);
      if (!answer.ok()) throw new Error(`the variable was refused: ${answer.status()}`);
    };
    const running = () => page.getByRole("row").filter({ hasText: "Running" });
    await page.request.post("/api/v2/variables", { data: { key: "tour_step", value: "0" } });

    await page.request.post(`/api/v2${DAG}/dagRuns`, { data: { dag_run_id: "steps", logical_date: null } });
    await visit.open(`${DAG}/runs`);
    await shown(running());

    await visit.go(`${DAG}/runs/steps`);
    await shown(text(page, "Missed"));
    await shown(running().filter({ hasText: "step_1" }));
    await step(1);
    await shown(running().filter({ hasText: "step_2" }));

    await page.getByRole("button", { name: /Show Graph/ }).click();
    await shown(page.getByTestId("rf__node-step_2").getByText("running"));
    await step(2);
    await shown(page.getByTestId("rf__node-step_2").getByText("success"));
    await shown(page.getByTestId("rf__node-step_3").getByText("running"));
    await page.getByRole("button", { name: /Show Grid/ }).click();

    await visit.go(`${DAG}/runs/steps/tasks/step_3`);
    await shown(text(page, "waiting for step 3"));
    await visit.screenshot("live-log");
    await step(3);
    await shown(text(page, "step 3 is there"));

    await visit.open("/");
    await shown(page.getByRole("link", { name: "1 Running Dags" }));
    await shown(text(page, "Missed Deadlines"));
    await visit.screenshot("home");
    const succeeded = page.locator('a[href^="/task_instances"][href*="state=success"]').first();
    const before = Number(await succeeded.innerText());
    await step(4);
    await shown(succeeded.filter({ hasText: new RegExp(`^${before + 1}$`) }));
    await visit.go(`${DAG}/runs`);
    await shown(running());
    await step(5);
    await shown(page.getByRole("row").filter({ hasText: "steps" }).filter({ hasText: "Success" }));
    await visit.settle();
  },
};

/** The deadlines of all DAGs, and where a DAG tells of its own. */
export const deadlines: Check = {
  name: "deadlines",
  async run(visit) {
    const { page } = visit;
    await visit.go("/deadlines");
    await shown(page.getByRole("row").filter({ hasText: "tour_steps" }).filter({ hasText: "Missed" }));
    await visit.settle();
    await visit.screenshot("deadlines");
    await visit.go(DAG);
    await page.getByRole("button", { name: "1 deadline" }).click();
    await shown(text(page, "at once"));
    await visit.settle();
  },
};

/** Fails a run, clears what failed, deletes it; at last the DAG itself. */
export const manageRun: Check = {
  name: "mark, clear and delete a run, delete its DAG",
  async run(visit) {
    const { page } = visit;
    await visit.open(`${DAG}/runs/steps`);
    await page.getByTestId("mark-run-as-button").click();
    await page.getByRole("menuitem", { name: "Failed" }).click();
    await dialog(page).getByRole("button", { name: "Confirm" }).click();
    await dialog(page).waitFor({ state: "hidden" });
    const badge = page.locator(':nth-match(div:has(> h2) [data-testid="state-badge"], 1)');
    await shown(badge.filter({ hasText: "Failed" }));

    await page.getByRole("button", { name: /shift\+c/ }).click();
    await shown(dialog(page).getByText("Affected Tasks: 5"));
    await dialog(page).getByRole("button", { name: "Clear only failed tasks" }).click();
    await shown(dialog(page).getByText("Affected Tasks: 0"));
    await dialog(page).getByRole("button", { name: "Clear existing tasks" }).click();
    await shown(dialog(page).getByText("Affected Tasks: 5"));
    await visit.settle();
    await visit.screenshot("clear-run-dialog");
    await dialog(page).getByRole("button", { name: "Confirm" }).click();
    await dialog(page).waitFor({ state: "hidden" });
    await shown(badge.filter({ hasText: "Success" }));

    await page.getByRole("button", { name: "Delete Dag Run" }).first().click();
    await dialog(page).getByRole("button", { name: "Delete", exact: true }).click();
    await page.waitForURL((url) => url.pathname.startsWith(DAG) && !url.pathname.includes("/runs/"));
    // The address changes before the page does; its own button begins with the same words.
    await page.getByRole("button", { name: "Delete Dag Run" }).waitFor({ state: "detached" });
    await visit.settle();
    // The page it leaves asks for the run a last time.
    visit.problems();
    await page.getByRole("button", { name: "Delete Dag", exact: true }).click();
    await dialog(page).getByRole("button", { name: "Delete", exact: true }).click();
    await page.waitForURL((url) => url.pathname === "/dags");
    await visit.settle();
    visit.problems();
  },
};
