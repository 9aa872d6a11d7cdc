import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createHome } from "../../../test/support/home.ts";
import {
  backUp,
  datastoreOptions,
  makeInstallation,
  stateOf,
  type Installation,
} from "../../../test/support/installation.ts";
import { bundleProgram, firstJson, type BundledProgram } from "../../../test/support/run-typescript.ts";
import { finishRestore } from "../datastore.ts";
import { acquireHomeLock } from "../home-lock.ts";

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

/** Restores, to the end or to a sudden one. */
async function restore(
  which: "one" | "other",
  killAt: number | string = 0,
  { home: folder, userHome } = placesOf(home),
) {
  const child = program.start([folder, archives[which], userHome, String(killAt)]);
  const ended = new Promise((done) => child.once("close", done));
  const said = await firstJson<{ name?: string; steps?: number; error?: string }>(child);
  await ended;
  return said;
}

function placesOf({ paths, userHome }: Installation) {
  return { home: paths.home, userHome };
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

it("a killed restore where nothing was leaves nothing, and the next one works", { timeout: 120_000 }, async () => {
  const { paths, remove } = createHome();
  removals.push(remove);
  const userHome = dirname(paths.home);
  const kill = (killAt: number | string) => restore("one", killAt, { home: paths.home, userHome });
  for (const step of ["begun", "checked", "about to commit"]) {
    expect((await kill(step)).name).toBe(step);
    expect(existsSync(paths.restoreJournal)).toBe(true);
    const held = await acquireHomeLock(paths.lock);
    if (!("lock" in held)) throw new Error("the killed one still holds the home");
    await finishRestore(datastoreOptions(paths));
    held.lock.release();
    const left = readdirSync(paths.home).filter((name) => !["managed-postgres", "venv"].includes(name));
    expect(left, `killed at "${step}"`).toEqual([]);
    expect(existsSync(join(paths.managedPostgres, "data"))).toBe(false);
    expect(readdirSync(userHome)).toEqual([".leoflow"]);
  }
  await kill(0);
  expect(readFileSync(join(userHome, "leoflow/project/dag.py"), "utf8")).toBe("# one\n");
});
