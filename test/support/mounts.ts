import { spawnSync } from "node:child_process";

/** Gives what follows mounts of its own, which go with it. */
export const OWN_MOUNTS = ["unshare", "-Um", "--map-root-user"] as const;

/** Whether this machine lets one make them. */
export const canMount = mountsNothing();

function mountsNothing(): boolean {
  const [program, ...args] = [...OWN_MOUNTS, "mount", "-t", "tmpfs", "none", "/mnt"] as const;
  return spawnSync(program, args, { stdio: "ignore" }).status === 0;
}
