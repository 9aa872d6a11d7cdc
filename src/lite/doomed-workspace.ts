import { existsSync, lstatSync, readdirSync, realpathSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { UserError } from "../kit/user-error.ts";
import { runCommand } from "./command.ts";
import { below } from "./restore/target-workspace.ts";

/** Throws UserError where the workspace is a folder that a purge must not take: the user's home, a folder of the system. */
export function refuseDangerousPurge(
  workspace: string,
  places: { home: string; userHome: string; program: string },
): void {
  const target = real(workspace);
  const reason = dangerOf(target, places);
  if (reason === undefined) return;
  throw new UserError(`refusing to purge: the workspace ${workspace} ${reason}`, {
    fix: "set `workspace:` in config.yaml to a folder that holds your DAGs alone; or run `leoflow uninstall` without --purge, which keeps it",
  });
}

function dangerOf(target: string, { home, userHome, program }: { home: string; userHome: string; program: string }) {
  const isOrHolds = (place: string) => below(target, real(place)) !== undefined;
  if (dirname(dirname(target)) === dirname(target)) return "is a folder of the system";
  if (target === real(tmpdir())) return "is the system's temporary folder";
  if ([userHome, homedir()].some(isOrHolds)) return "is, or holds, your home directory";
  if (isOrHolds(home)) return `holds ${home}`;
  if (isOrHolds(program) || below(real(program), target) !== undefined)
    return `is part of Leoflow's own folder ${program}`;
  return undefined;
}

/** What git knows of this folder, or of a project right below it, and no other place does. */
export async function unsavedWork(workspace: string): Promise<string[]> {
  if (!existsSync(workspace)) return [];
  const children = readdirSync(workspace, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const places = [workspace, ...children.map(({ name }) => join(workspace, name))].filter((place) =>
    existsSync(join(place, ".git")),
  );
  return (await Promise.all(places.map(unsavedIn))).flat();
}

async function unsavedIn(place: string): Promise<string[]> {
  // Nothing that the repository itself names is run.
  const git = (...args: string[]) => runCommand(["git", "-c", "core.fsmonitor=false", "-C", place, ...args]);
  const changed = await git("status", "--porcelain", "--untracked-files=normal");
  const unpushed = await git("log", "--branches", "--not", "--remotes", "--format=%h");
  if (changed.code !== 0 || unpushed.code !== 0) return [`${place} is a git repository that git could not look into`];
  const count = (text: string) => text.split("\n").filter(Boolean).length;
  const found = [
    [count(changed.stdout), "uncommitted change(s)"],
    [count(unpushed.stdout), "commit(s) that no remote has"],
  ] as const;
  const told = found.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`);
  return told.length === 0 ? [] : [`${place} is a git repository with ${told.join(" and ")}`];
}

/** Where a path leads; of one that is not there, as it is. */
function real(path: string): string {
  return lstatSync(path, { throwIfNoEntry: false }) && existsSync(path) ? realpathSync(path) : path;
}
