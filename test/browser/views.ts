import type { Page } from "playwright-core";
import { dagPath, dialog, runPath, shown, taskPath, text, type Check } from "./actions.ts";

const node = (page: Page, id: string) => page.getByTestId(`rf__node-${id}`);

/** A run's graph: states, the count of a mapped task, what is in a group, the assets around it. */
export const graphView: Check = {
  name: "graph",
  async run(visit, subject) {
    const { page } = visit;
    await visit.go(runPath(subject));
    await page.getByRole("button", { name: /Show Graph/ }).click();
    await shown(node(page, subject.mappedTaskId).getByText(`${subject.mappedTaskId} [3]`));
    await shown(node(page, subject.taskId).getByText("success"));
    await page.getByRole("button", { name: "+ 2 Tasks" }).click();
    await shown(node(page, `${subject.groupId}.good`));
    await page.getByRole("button", { name: "Options" }).click();
    await dialog(page).getByRole("combobox", { name: "Dependencies" }).click();
    await page.getByRole("option", { name: "All Dag Dependencies" }).click();
    await page.keyboard.press("Escape");
    await shown(page.locator('[data-testid^="rf__node-asset:"]').filter({ hasText: "tour_numbers" }));
    await visit.settle();
    await visit.screenshot("graph");
    await page.getByRole("button", { name: /Show Grid/ }).click();
    await visit.settle();
  },
};

/** A bar for every task of a run. */
export const ganttView: Check = {
  name: "gantt",
  async run(visit, subject) {
    const { page } = visit;
    await visit.go(runPath(subject));
    await page.getByRole("button", { name: "Show Gantt" }).click();
    await visit.settle();
    await visit.screenshot("gantt");
    await page.getByRole("button", { name: /Show Grid/ }).click();
    await visit.settle();
  },
};

/** The day of the runs is coloured and tells of them. */
export const calendar: Check = {
  name: "dag calendar",
  async run(visit, subject) {
    const { page } = visit;
    await visit.go(`${dagPath(subject)}/calendar`);
    await page.getByRole("button", { name: "Daily" }).click();
    await shown(page.getByTestId("calendar-cell"));
    await visit.settle();
    await visit.screenshot("dag-calendar");
    await page.getByRole("button", { name: "Failed Runs" }).click();
    await page.getByRole("button", { name: "Hourly" }).click();
    await shown(page.getByTestId("calendar-cell"));
    await visit.settle();
  },
};

/** A log's groups open, its lines are filtered, its times hidden; it is searched, seen in full screen, and saved. */
export const logView: Check = {
  name: "a log's controls",
  async run(visit, subject) {
    const { page } = visit;
    const line = () => text(page, subject.logLine);
    const setting = async (name: RegExp) => {
      await page.getByTestId("log-settings-button").click();
      await page.getByRole("menuitem", { name }).click();
      await page.getByRole("menuitem", { name }).waitFor({ state: "hidden" });
    };
    await visit.go(taskPath(subject));
    await shown(line());
    await page.getByText("Pre Execute").click();
    await setting(/^Expand/);
    await shown(text(page, /Found local files|attempt=1\.log/));
    await setting(/^Hide Timestamps/);
    await setting(/^Show Source/);
    await shown(text(page, /task\.stdout|tour\.py/));
    await visit.settle();
    await visit.screenshot("log");
    const choose = async (select: string, option: string) => {
      await page.getByRole("combobox").filter({ hasText: select }).click();
      await page.getByRole("option", { name: option }).click();
      await page.keyboard.press("Escape");
    };
    await choose("All Log Levels", "ERROR");
    await line().waitFor({ state: "detached" });
    await visit.go(taskPath(subject));
    await choose("All Sources", "task.stdout");
    await shown(line());
    const saved = page.waitForEvent("download");
    await page.getByTestId("download-logs-button").click();
    if ((await (await saved).path()) === "") throw new Error("nothing was saved");
    await visit.go(taskPath(subject));
    await page.getByRole("button", { name: /fullscreen/ }).click();
    await shown(dialog(page).getByText(subject.logLine));
    await dialog(page).getByPlaceholder("Search logs...").fill("counting");
    await shown(dialog(page).getByText(/1 ?(of|\/) ?1/));
    await visit.settle();
    await visit.screenshot("log-in-full-screen");
    await page.keyboard.press("Escape");
  },
};

/** What is not a page: finding a DAG from anywhere, the time zone, the keys. */
export const shell: Check = {
  name: "search, time zone and keys",
  async run(visit, subject) {
    const { page } = visit;
    await visit.go(runPath(subject));
    await shown(page.getByRole("button", { name: /Show Graph/ }));
    await page.keyboard.press("Shift+?");
    await shown(dialog(page).getByText("Toggle graph / grid view"));
    await page.keyboard.press("Escape");
    await dialog(page).waitFor({ state: "hidden" });
    await page.getByRole("button", { name: "+00:00" }).click();
    await shown(dialog(page).getByText("Current time in UTC"));
    await dialog(page).getByRole("combobox").fill("Tokyo");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Escape");
    await shown(page.getByRole("button", { name: "+09:00" }));
    await page.keyboard.press("Control+k");
    await dialog(page).getByRole("combobox").fill("tour_st");
    await page.getByRole("option", { name: "tour_steps" }).click();
    await page.waitForURL(/\/dags\/tour_steps/);
    await visit.settle();
    await page.evaluate("localStorage.clear()");
  },
};
