import { dagPath, dialog, runPath, shown, text, type Check } from "./actions.ts";

/** A task waits for a person, who answers; the run ends without a reload. */
export const answerAction: Check = {
  name: "answer a required action",
  async run(visit) {
    const { page } = visit;
    const answer = await page.request.post("/api/v2/dags/tour_asks/dagRuns", {
      data: { dag_run_id: "asks", logical_date: null },
    });
    if (!answer.ok()) throw new Error(`the run was refused: ${answer.status()}`);
    await visit.open("/required_actions");
    await shown(page.getByRole("row").filter({ hasText: "tour_asks" }).getByText("Approval Required"));
    await visit.screenshot("required-actions");
    await visit.go("/dags");
    await page.getByTestId("dags-needs-review-filter").click();
    await shown(page.getByRole("heading", { name: "1 Dag", exact: true }));
    await visit.go("/dags/tour_asks/runs/asks/tasks/approve/required_actions");
    await shown(text(page, "Shall it go on?"));
    await visit.screenshot("required-action");
    await page.getByRole("button", { name: "Approve" }).click();
    await visit.go("/dags/tour_asks/runs/asks");
    await shown(text(page, "Success"));
    await visit.settle();
  },
};

/** From a file, as the export writes it. */
export const importVariables: Check = {
  name: "import variables",
  async run(visit) {
    const { page } = visit;
    await visit.go("/variables");
    await page.getByRole("button", { name: /Import Variables/i }).click();
    const variables = JSON.stringify({ imported_one: "1", imported_two: { value: "2", description: "second" } });
    await dialog(page)
      .locator('input[type="file"]')
      .setInputFiles({ name: "variables.json", mimeType: "application/json", buffer: Buffer.from(variables) });
    await visit.settle();
    await visit.screenshot("import-variables");
    await dialog(page)
      .getByRole("button", { name: /^Import/ })
      .click();
    await dialog(page).waitFor({ state: "hidden" });
    await shown(text(page, "imported_two"));
    await visit.screenshot("imported");
  },
};

/** Written as Markdown, and there after a reload. */
export const noteRun: Check = {
  name: "write a note",
  async run(visit, subject) {
    const { page } = visit;
    await visit.open(runPath(subject));
    await page.getByRole("button", { name: "Edit note" }).click();
    await dialog(page).locator("textarea").fill("Seen by the **browser**.");
    await dialog(page).getByRole("button", { name: "Confirm" }).click();
    await dialog(page).waitFor({ state: "hidden" });
    await visit.open(runPath(subject));
    await shown(text(page, "Seen by the"));
    await visit.settle();
    await visit.screenshot("note");
  },
};

/** The home page tells of a file that cannot be imported, and where it fails. */
export const importError: Check = {
  name: "import errors",
  async run(visit) {
    const { page } = visit;
    await visit.open("/");
    await page
      .getByText(/Import Error/)
      .first()
      .click();
    await shown(text(page, /broken\.py/));
    await page
      .getByText(/broken\.py/)
      .first()
      .click();
    await shown(text(page, /no_such_module/));
    await visit.settle();
    await visit.screenshot("import-errors");
  },
};

export const appearance: Check = {
  name: "dark mode and another language",
  async run(visit, subject) {
    const { page } = visit;
    await visit.open(dagPath(subject));
    const menu = () => page.getByRole("button", { name: /User/i }).first().click();
    await menu();
    await page.getByText("Appearance").click();
    await page.getByText("Dark", { exact: false }).first().click();
    await page.locator("html.dark").waitFor({ state: "attached" });
    await visit.settle();
    await visit.screenshot("dag-dark");
    await menu();
    await page.getByText("Select Language").click();
    await visit.settle();
    await dialog(page).getByRole("combobox").click();
    await page.keyboard.type("Deutsch");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Escape");
    await shown(text(page, "Übersicht"));
    await visit.settle();
    await visit.screenshot("german");
    await page.evaluate("localStorage.clear()");
  },
};
