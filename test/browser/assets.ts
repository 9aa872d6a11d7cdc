import { until } from "../support/until.ts";
import { dialog, shown, text, type Check } from "./actions.ts";

/** An asset among its DAGs and its tasks; an event made by hand, one by the DAG before it; what follows them runs. */
export const assetEvents: Check = {
  name: "asset",
  async run(visit) {
    const { page } = visit;
    const edge = (from: string, to: string) => page.getByTestId(new RegExp(`^rf__edge-.*${from}.*${to}`));
    await visit.go("/assets");
    await page.getByRole("link", { name: "tour_numbers" }).click();
    await edge("dag:tour", "asset:").first().waitFor({ state: "attached" });
    await shown(text(page, "Scheduled Dags"));
    await visit.settle();
    await visit.screenshot("asset");
    await page.getByRole("button", { name: "Task Dependencies" }).click();
    await shown(page.locator(".react-flow__node").filter({ hasText: "follow" }));

    // The page's own; a dialog that fades away has one, too.
    const create = page.getByRole("button", { name: "Create Event" }).first();
    await create.click();
    await dialog(page).getByText("Materialize", { exact: true }).click();
    await visit.settle();
    await visit.screenshot("asset-event-dialog");
    await page.getByTestId("trigger-dag-submit").click();
    await dialog(page).waitFor({ state: "hidden" });
    await shown(text(page, "Materializing Asset"));

    await visit.go("/assets");
    await page.getByRole("link", { name: "tour_other" }).click();
    await create.click();
    await dialog(page).getByRole("button", { name: "Create Event" }).click();
    await dialog(page).waitFor({ state: "hidden" });
    await shown(text(page, "Asset Event Created"));
    await visit.settle();
    await until("both assets start the DAG that waits for them", async () => {
      const runs = await page.request.get("/api/v2/dags/tour_follows/dagRuns");
      return ((await runs.json()) as { total_entries: number }).total_entries > 0;
    });
  },
};
