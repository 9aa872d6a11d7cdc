import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { lstat, mkdir, readdir, readFile, readlink, rm, rmdir, symlink, unlink, writeFile } from "node:fs/promises";
import { join, posix } from "node:path";
import { UserError } from "../../kit/user-error.ts";
import { BUNDLE_MARKER } from "../workspace/bundles-in-workspace.ts";
import type { BundleSettings } from "./bundle-settings.ts";

/** Where a local bundle's own folder is linked to, below the bundle's folder. */
const LINK = "dags";

/** Folders that hold one file of elsewhere while it is tried. */
const MOUNT = "leoflow-run-";

interface Marker {
  bundle: string;
  /** The folder of its DAGs below this one; "" is this one. */
  root: string;
}

/** The folder of a bundle's DAGs, below the workspace. */
export function rootOf(bundle: BundleSettings): string {
  return posix.join(bundle.name, bundle.kind === "local" ? LINK : (bundle.subdir ?? ""));
}

/** Makes the bundle's folder in the workspace, or finds the one that was made. Throws UserError for a folder of the user's own. */
export async function claimFolder(workspace: string, bundle: BundleSettings): Promise<void> {
  const { name } = bundle;
  const folder = join(workspace, name);
  await mkdir(folder, { recursive: true }).catch((error: NodeJS.ErrnoException) => {
    throw error.code === "EEXIST" ? inTheWay(folder, name) : error;
  });
  const marker: Marker = { bundle: name, root: posix.relative(name, rootOf(bundle)) };
  const before = await readMarker(folder);
  const isOurs = before?.bundle === name && !(await lstat(folder)).isSymbolicLink();
  if (!isOurs && (await readdir(folder)).length > 0) throw inTheWay(folder, name);
  // What Python and the archives of versions read must not be seen half written, or written for nothing.
  if (before?.root !== marker.root) await writeFile(join(folder, BUNDLE_MARKER), `${JSON.stringify(marker)}\n`);
  if (bundle.kind === "local") await linkTo(bundle.path, join(folder, LINK));
}

export function newMountName(): string {
  return MOUNT + randomBytes(4).toString("hex");
}

/** Takes a mount's folder away; nothing behind its link is touched. */
export async function removeMount(workspace: string, name: string): Promise<void> {
  const folder = join(workspace, name);
  for (const entry of [LINK, BUNDLE_MARKER]) await rm(join(folder, entry), { force: true });
  await rmdir(folder).catch(() => undefined);
}

/** Those that a Leoflow left which was killed. */
export async function removeMounts(workspace: string): Promise<void> {
  for (const name of await readdir(workspace)) {
    if (name.startsWith(MOUNT) && (await readMarker(join(workspace, name)))?.bundle === name)
      await removeMount(workspace, name);
  }
}

async function readMarker(folder: string): Promise<Marker | null> {
  try {
    return JSON.parse(await readFile(join(folder, BUNDLE_MARKER), "utf8")) as Marker;
  } catch {
    return null;
  }
}

async function linkTo(path: string, link: string): Promise<void> {
  const before = await readlink(link).catch(() => null);
  if (before === path) return;
  if (before !== null) await unlink(link);
  else if (existsSync(link)) throw inTheWay(link, "of that name");
  await symlink(path, link);
}

function inTheWay(path: string, name: string): UserError {
  return new UserError(`${path} is in the way of the DAG bundle ${name}: Leoflow did not make it`, {
    fix: "give it, or the bundle, another name",
  });
}
