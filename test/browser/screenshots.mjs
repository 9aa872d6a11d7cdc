/**
 * Takes the pictures that docs/ui.md shows, by the browser test's own visit: `npm run screenshots`. pngquant makes them
 * smaller where it is installed.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");
const pages = readFileSync(join(root, "docs/ui.md"), "utf8");
const shown = [...pages.matchAll(/\(images\/([\w-]+\.png)\)/g)].map(([, file]) => file);
const taken = mkdtempSync(join(tmpdir(), "leoflow-screenshots-"));
try {
  const { status } = spawnSync("npx", ["vitest", "run", "test/browser"], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, LEOFLOW_TEST_SCREENSHOTS: taken },
  });
  const missing = shown.filter((file) => !existsSync(join(taken, file)));
  if (status !== 0 || missing.length > 0) {
    process.exitCode = 1;
    if (missing.length > 0) console.error(`No check takes these pictures of docs/ui.md: ${missing.join(", ")}`);
  } else {
    for (const file of shown) {
      const target = join(root, "docs/images", file);
      copyFileSync(join(taken, file), target);
      spawnSync("pngquant", ["--force", "--skip-if-larger", "--ext", ".png", "--quality", "70-95", target]);
    }
    console.log(`${shown.length} pictures are in docs/images/.`);
  }
} finally {
  rmSync(taken, { recursive: true, force: true });
}
