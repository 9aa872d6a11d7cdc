import type { Page } from "playwright-core";
import { dagPath, dialog, shown, text, type Check } from "./actions.ts";
import type { Visit } from "./visit.ts";

const heading = (page: Page, words: string) => page.getByRole("heading", { name: words, exact: true });
const choose = async (page: Page, select: string, option: string) => {
  await page.getByRole("combobox").filter({ hasText: select }).click();
  await page.getByRole("option", { name: option, exact: true }).click();
};
const press = (page: Page, name: string) => page.getByRole("button", { name, exact: true }).first().click();

/** Every filter of the list of DAGs leaves what it should, told by the number above the list. */
export const dagsList: Check = {
  name: "filters of the list of DAGs",
  async run(visit) {
    const { page } = visit;
    const fresh = async () => {
      await visit.go("/dags");
      await shown(heading(page, "4 Dags"));
    };
    await fresh();
    await page.getByTestId("search-dags").fill("tour_a");
    await shown(heading(page, "1 Dag"));
    await page.getByTestId("clear-search").click();
    await shown(heading(page, "4 Dags"));
    await page.getByTestId("search-dags").fill("steps");
    await shown(heading(page, "0 Dags"));
    await page.getByTestId("advanced-search-toggle").click();
    await shown(heading(page, "1 Dag"));

    await fresh();
    await press(page, "Paused");
    await shown(heading(page, "0 Dags"));
    await press(page, "Active");
    await shown(heading(page, "4 Dags"));
    await press(page, "Required Actions");
    await shown(heading(page, "0 Dags"));

    await fresh();
    await choose(page, "Last run:", "Success");
    await shown(heading(page, "1 Dag"));
    await fresh();
    await choose(page, "Any run:", "Failed");
    await shown(heading(page, "1 Dag"));

    await fresh();
    await page.getByRole("combobox", { name: "Filter Dags by tag" }).fill("browser");
    await page.getByRole("option", { name: "browser" }).click();
    await shown(heading(page, "1 Dag"));
    await page.keyboard.press("Backspace");

    await fresh();
    await page.getByRole("button", { name: "Favorite Dag" }).first().click();
    await press(page, "Favorite");
    await shown(heading(page, "1 Dag"));
    await press(page, "Unfavorite Dag");
    await shown(heading(page, "0 Dags"));

    await fresh();
    await choose(page, "Sort by", "Sort by Display Name (Z-A)");
    await shown(page.getByTestId("dag-card").first().getByRole("link", { name: "tour_steps" }));
    await press(page, "Show table view");
    await shown(page.getByTestId("table-list").getByRole("row").nth(1).getByText("tour_steps"));
    await visit.settle();
    await visit.screenshot("dags-table");
    await press(page, "Show card view");
    await visit.settle();
  },
};

/** Ticks what a list has, and deletes it through the bar that appears. */
async function deleteTicked(visit: Visit, keys: readonly string[]): Promise<void> {
  const { page } = visit;
  // A list that is read again forgets what was ticked.
  await visit.settle();
  for (const key of keys) {
    const box = page.getByRole("row").filter({ hasText: key }).locator('[data-part="control"]').first();
    await box.click();
    await box.and(page.locator('[data-state="checked"]')).waitFor();
  }
  await shown(text(page, `${keys.length} Selected`));
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await dialog(page).getByRole("button", { name: "Yes, Delete" }).click();
  for (const key of keys) await page.getByRole("row").filter({ hasText: key }).waitFor({ state: "detached" });
  await visit.settle();
}

/** Finds, changes and deletes what other checks made. */
export const manageVariables: Check = {
  name: "change and delete variables",
  async run(visit) {
    const { page } = visit;
    await visit.go("/variables");
    const row = page.getByRole("row").filter({ hasText: "browser_variable" });
    await row.getByRole("button", { name: "Edit Variable" }).click();
    await dialog(page).locator('textarea[name="value"]').fill("changed by the browser");
    await dialog(page).getByRole("button", { name: /^Save/i }).click();
    await dialog(page).waitFor({ state: "hidden" });
    await shown(row.getByText("changed by the browser"));
    await row.getByRole("button", { name: "Delete Variable" }).click();
    await dialog(page).getByRole("button", { name: "Yes, Delete" }).click();
    await row.waitFor({ state: "detached" });
    await deleteTicked(visit, ["imported_one", "imported_two"]);
    await shown(text(page, "tour_step"));
    await page.getByPlaceholder("Search Keys").fill("nothing");
    await shown(text(page, "No variables found"));
    await visit.settle();
  },
};

export const managePools: Check = {
  name: "change and delete a pool",
  async run(visit) {
    const { page } = visit;
    await visit.go("/pools");
    await page.getByPlaceholder("Search Pools").fill("browser");
    await shown(heading(page, "1 Pool"));
    await press(page, "Edit Pool");
    await dialog(page).getByLabel("Slots").fill("7");
    await dialog(page).getByRole("button", { name: /^Save/i }).click();
    await dialog(page).waitFor({ state: "hidden" });
    await shown(text(page, /^browser_pool \(7 /));
    await press(page, "Delete Pool");
    await dialog(page).getByRole("button", { name: "Delete", exact: true }).click();
    await text(page, /^browser_pool/).waitFor({ state: "detached" });
    await visit.settle();
  },
};

/** A hook of an installed provider tries a connection; its own fields are in the form. */
export const manageConnections: Check = {
  name: "test, change and delete a connection",
  async run(visit) {
    const { page } = visit;
    await page.request.post("/api/v2/connections", {
      data: { connection_id: "browser_files", conn_type: "fs", extra: '{"path": "/"}' },
    });
    await visit.open("/connections");
    const row = page.getByRole("row").filter({ hasText: "browser_files" });
    await row.getByRole("button", { name: "Test Connection" }).click();
    await shown(row.getByRole("button", { name: "Test Connection" }).locator('svg[color="green"]'));
    await row.getByRole("button", { name: "Edit Connection" }).click();
    await dialog(page).getByRole("button", { name: "Extra Fields", exact: true }).click();
    await shown(dialog(page).locator('input[name="element_path"]'));
    await dialog(page).locator('input[name="element_path"]').fill("/nowhere");
    await visit.settle();
    await visit.screenshot("connection-extra-fields");
    await dialog(page).getByRole("button", { name: /^Save/i }).click();
    await dialog(page).waitFor({ state: "hidden" });
    await deleteTicked(visit, ["browser_connection", "browser_files"]);
  },
};

/** Adds, changes and deletes a task's XCom. */
export const manageXcoms: Check = {
  name: "add and delete an XCom",
  async run(visit, subject) {
    const { page } = visit;
    await visit.go(`${dagPath(subject)}/runs/${encodeURIComponent(subject.runId)}/tasks/${subject.taskId}/xcom`);
    await page.getByRole("button", { name: "Add XCom" }).click();
    await dialog(page).getByRole("textbox").first().fill("by_hand");
    await dialog(page).locator(".monaco-editor").click();
    await page.keyboard.type("42");
    await dialog(page).getByRole("button", { name: "Save" }).click();
    await dialog(page).waitFor({ state: "hidden" });
    const row = page.getByRole("row").filter({ hasText: "by_hand" });
    await shown(row);
    await row.getByRole("button", { name: "Delete XCom" }).click();
    await dialog(page).getByRole("button", { name: "Delete", exact: true }).click();
    await row.waitFor({ state: "detached" });
    await visit.settle();
  },
};
