import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createHome } from "../../../test/support/home.ts";
import { backUp, makeInstallation, stateOf, type Installation } from "../../../test/support/installation.ts";
import { bundleProgram, firstJson, type BundledProgram } from "../../../test/support/run-typescript.ts";

// SIGKILL at every step of a restore. The next look at the installation finds it as it was, or, once the databases have changed
// their names, wholly restored.

let program: BundledProgram;
let folder: string;
let home: Installation;
/** The same two installations, as archives and as they look once restored here. */
const archives: Record<"one" | "other", string> = { one: "", other: "" };
const removals: (() => void)[] = [];

beforeAll(async () => {
  program = await bundleProgram(join(import.meta.dirname, "../../../test/support/restore-program.ts"));
  folder = mkdtempSync(join(tmpdir(), "leoflow-restore-"));
  const [here, elsewhere] = [createHome(), createHome()];
  removals.push(here.remove, elsewhere.remove);
  home = await makeInstallation(here.paths, "one");
  await backUp(home, (archives.one = join(folder, "one.tar.gz")));
  await backUp(await makeInstallation(elsewhere.paths, "other"), (archives.other = join(folder, "other.tar.gz")));
});
afterAll(() => {
  program.killAll();
  program.remove();
  for (const remove of removals) remove();
  rmSync(folder, { recursive: true, force: true });
});

function restore(which: "one" | "other", killAt = 0) {
  return firstJson<{ name?: string; steps?: number; error?: string }>(
    program.start([home.paths.home, archives[which], home.userHome, String(killAt)]),
  );
}

const state = () => stateOf(home.paths, home.workspace);

it("a killed restore leaves the installation as it was, or wholly restored", { timeout: 300_000 }, async () => {
  const one = await state();
  const { steps = 0 } = await restore("other");
  expect(steps).toBeGreaterThan(15);
  const looks = { other: await state(), one };
  // There and back: nothing of the other one stays.
  await restore("one");
  expect(await state()).toEqual(one);

  let [is, comes]: ["one" | "other", "one" | "other"] = ["one", "other"];
  let happened = false;
  const names: string[] = [];
  for (let killAt = 1; killAt <= steps; killAt++) {
    const { name = "" } = await restore(comes, killAt);
    names.push(name);
    happened ||= name === "committed";
    if (happened) [is, comes] = [comes, is];
    expect(await state(), `killed at step ${killAt}, "${name}"`).toEqual(looks[is]);
  }
  expect(new Set(names)).toEqual(
    new Set([
      ...["begun", "folders made", "database made", "unpacked", "workspace unpacked", "checked", "exchange planned"],
      ...["exchange begun", "exchange", "files exchanged", "about to commit", "committed", "old database dropped"],
      ...["cleaned up", "done"],
    ]),
  );
});
