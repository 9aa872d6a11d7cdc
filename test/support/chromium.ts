import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { runCommand } from "../../src/lite/command.ts";
import { sharedHome } from "./home.ts";

/** Where playwright's own download goes: inside the clone, and gone with it. */
const downloads = join(sharedHome.program, ".cache/browsers");

const INSTALLED = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/usr/bin/google-chrome-stable",
  "/snap/bin/chromium",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

/** A Chromium of this machine or one downloaded by an earlier test run. */
export function findChromium(): string | undefined {
  return [process.env["LEOFLOW_TEST_CHROMIUM"], ...INSTALLED, ...downloaded()].find((path) => path && existsSync(path));
}

function downloaded(): string[] {
  if (!existsSync(downloads)) return [];
  return readdirSync(downloads, { recursive: true, encoding: "utf8" })
    .filter((file) => /\/(chrome|headless_shell|chrome-headless-shell|Chromium)$/.test(file))
    .map((file) => join(downloads, file));
}

/** Gets one where there is none: Debian's package as root, playwright's download elsewhere. */
export async function ensureChromium(): Promise<string | undefined> {
  if (findChromium()) return findChromium();
  if (process.getuid?.() === 0 && existsSync("/usr/bin/apt-get")) {
    const env = { DEBIAN_FRONTEND: "noninteractive" };
    await runCommand(["apt-get", "update", "-qq"], { env });
    await runCommand(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], { env });
    if (findChromium()) return findChromium();
  }
  mkdirSync(downloads, { recursive: true });
  await runCommand(["npx", "playwright-core", "install", "chromium"], { env: { PLAYWRIGHT_BROWSERS_PATH: downloads } });
  return findChromium();
}
