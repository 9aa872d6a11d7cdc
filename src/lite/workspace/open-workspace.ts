import { constants } from "node:fs";
import { access, realpath, stat } from "node:fs/promises";
import { UserError } from "../../kit/user-error.ts";
import { messageOf } from "./discovery.ts";

const FIX = "make the folder readable, or set `workspace` in config.yaml (or LEOFLOW_WORKSPACE) to another";

export interface OpenWorkspace {
  /** Real path. */
  workspace: string;
  inode: number;
}

/** The workspace's real path: what Python sees, too. Throws UserError when it cannot be used. */
export async function openWorkspace(path: string): Promise<OpenWorkspace> {
  try {
    const found = await stat(path);
    if (!found.isDirectory()) throw new UserError(`the workspace ${path} is not a folder`, { fix: FIX });
    await access(path, constants.R_OK | constants.X_OK);
    return { workspace: await realpath(path), inode: found.ino };
  } catch (error) {
    if (error instanceof UserError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const reason =
      code === "ENOENT" ? "does not exist" : code === "EACCES" ? "is not readable for this user" : messageOf(error);
    throw new UserError(`the workspace ${path} ${reason}`, { fix: FIX, cause: error });
  }
}
