import type { Page } from "playwright-core";
import { dagPath, dialog, shown, text, type Check } from "./actions.ts";

async function fillDate(page: Page, which: "first" | "last", date: string): Promise<void> {
  await dialog(page).getByText("Select date and time")[which]().click();
  const day = page.getByPlaceholder("YYYY/MM/DD");
  await day.fill(date);
  await page.getByPlaceholder("HH:mm").fill("00:00");
  // The popover hears the key only once it is wholly open, and is gone a while after it.
  for (;;) {
    await page.keyboard.press("Escape");
    if (
      await day.waitFor({ state: "hidden", timeout: 2000 }).then(
        () => true,
        () => false,
      )
    )
      return;
  }
}

/** Asks for a backfill in the form; in its banner pauses, unpauses and cancels it. The DAG is paused, so that it stays a while. */
export const backfill: Check = {
  name: "run a backfill",
  async run(visit, subject) {
    const { page } = visit;
    const pauseDag = (isPaused: boolean) =>
      page.request.patch(`/api/v2${dagPath(subject)}`, { data: { is_paused: isPaused } });
    await pauseDag(true);
    try {
      await visit.open(dagPath(subject));
      await page.getByTestId("trigger-dag-button").click();
      await dialog(page).getByText("Backfill", { exact: true }).click();
      await fillDate(page, "first", "2026/01/02");
      await fillDate(page, "last", "2026/01/04");
      await dialog(page)
        .getByText(/^Unpause .* on trigger$/)
        .click();
      await visit.settle();
      await shown(text(page, /3 runs/));
      await visit.screenshot("backfill-dialog");
      await dialog(page).getByRole("button", { name: "Run Backfill" }).click();
      await dialog(page).waitFor({ state: "hidden" });
      await shown(text(page, /Backfill in progress/));
      await visit.screenshot("backfill-banner");
      const press = (name: string) => page.getByRole("button", { name, exact: true }).click();
      await press("Pause backfill");
      await press("Unpause backfill");
      await press("Cancel backfill");
      await text(page, /Backfill in progress/).waitFor({ state: "hidden" });
      await visit.open(`${dagPath(subject)}/backfills`);
      await shown(text(page, "Missing Runs"));
      await visit.settle();
      await visit.screenshot("backfills");
    } finally {
      await pauseDag(false);
    }
  },
};
