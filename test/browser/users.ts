import { shown, type Check } from "./actions.ts";

/** Leoflow's own page for admins, inside Airflow's UI. */
export const manageUsers: Check = {
  name: "manage users",
  async run(visit) {
    const { page } = visit;
    await visit.go("/");
    await page.getByRole("button", { name: "Admin" }).click();
    await page.getByRole("menuitem", { name: "Users" }).click();
    const frame = page.frameLocator("iframe");
    await frame.getByLabel("Name").fill("Ann@example.com");
    await frame.getByRole("button", { name: "Add user" }).click();
    await shown(frame.getByText(/^\w{5}-\w{5}-\w{5}-\w{5}$/));
    await frame.getByRole("button", { name: "Done" }).click();
    const row = frame.locator('tr[data-user="ann@example.com"]');
    const changed = page.waitForResponse((response) => response.request().method() === "PATCH");
    await row.getByRole("combobox").selectOption("OP");
    await changed;
    await visit.settle();
    await visit.screenshot("users");
    await row.getByRole("button", { name: "Remove" }).click();
    await frame.locator("dialog").getByRole("button", { name: "Remove" }).click();
    await row.waitFor({ state: "detached" });
    await visit.settle();
  },
};
