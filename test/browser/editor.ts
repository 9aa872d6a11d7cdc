import type { FrameLocator } from "playwright-core";
import { dagPath, shown, text, type Check } from "./actions.ts";

const frameOf = (visit: Parameters<Check["run"]>[0]): FrameLocator => visit.page.frameLocator('iframe[title="Editor"]');

/** Breaks a DAG's file and mends it; comes last, as the DAG has another version afterwards. */
export const editor: Check = {
  name: "the editor, from a DAG to its next version",
  async run(visit, subject) {
    const { page } = visit;
    await visit.open(dagPath(subject));
    await page.getByRole("link", { name: "Editor", exact: true }).last().click();
    const frame = frameOf(visit);
    await shown(frame.locator(".head .path").filter({ hasText: /\.py$/ }));
    await shown(frame.locator(".view-lines").getByText("import").first());
    await frame.locator(".view-lines").click();
    await page.keyboard.press("Control+End");
    await page.keyboard.type("\nbroken = 1 +");
    await shown(frame.locator(".path.unsaved"));

    // Leaving asks; the text stays.
    page.once("dialog", (dialog) => void dialog.dismiss());
    await page
      .getByRole("link", { name: /^Dags$/ })
      .first()
      .click();
    await shown(frame.locator(".path.unsaved"));

    await frame.locator(".view-lines").click();
    await page.keyboard.press("Control+End");
    await page.keyboard.press("Control+s");
    await shown(frame.locator(".problem").filter({ hasText: /^Line \d+: SyntaxError/ }));
    await shown(frame.locator(".squiggly-error"));
    await visit.screenshot("editor");

    await page.keyboard.type(" 1  # mended in the editor");
    await page.keyboard.press("Control+s");
    await frame.locator(".problem").first().waitFor({ state: "detached", timeout: 30_000 });
    await visit.settle();
    await visit.open(`${dagPath(subject)}/code`);
    // The viewer draws only what is in sight.
    await page.locator(".view-lines").first().click();
    await page.keyboard.press("Control+End");
    const mended = text(page, /mended\s+in\s+the\s+editor/);
    await shown(mended);
    await page.getByRole("combobox").filter({ hasText: "v2" }).click();
    await page.getByRole("option", { name: /^v1/ }).click();
    await mended.waitFor({ state: "detached" });
    await visit.settle();
    await visit.screenshot("code-versions");
  },
};
