import { processTerminal, TerminalProgress } from "../src/cli/terminal-progress.ts";
import { ensureChromium } from "./support/chromium.ts";
import { prepareSharedHome } from "./support/home.ts";

/** What the tests need beyond npm's packages: Airflow's Python, PostgreSQL, a Chromium. run.mjs bundles and runs this. */
const progress = new TerminalProgress(processTerminal(false));
await progress.step("Prepare Python and PostgreSQL", async () => prepareSharedHome(progress));
const chromium = await progress.step("Find Chromium", ensureChromium);
progress.note(chromium ? `Chromium: ${chromium}` : "no Chromium to be had: the browser test will fail");
