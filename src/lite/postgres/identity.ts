import { chownSync, existsSync, lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../kit/user-error.ts";
import { runCommand } from "../command.ts";

/**
 * Who PostgreSQL runs as. It refuses to run as root, yet in containers Leoflow often is. Then either a user namespace maps
 * root to another user (files stay root's), or setpriv becomes that user and keeps only the right to pass file permissions.
 */
export interface Identity {
  kind: "self" | "namespace" | "setpriv";
  /** The command as that identity runs it. It keeps its process id: each wrapper execs. */
  wrap(command: readonly string[]): string[];
  /** Who owns what it writes, seen from here. */
  uid: number;
  /** Gives a file or folder that we made to that identity. */
  give(path: string): void;
}

const ownUid = process.getuid?.() ?? 0;
const SELF: Identity = { kind: "self", uid: ownUid, wrap: (command) => [...command], give: () => undefined };

export interface IdentityOptions {
  /** An existing folder that the identity must be able to enter. */
  folder: string;
  /** Whose files they are decides, once there are any. */
  dataDir: string;
  isRoot?: boolean;
  /** Tests name the ways to try. */
  ways?: readonly ("namespace" | "setpriv")[];
}

/** Finds a way that works on this machine by trying it. */
export async function chooseIdentity(options: IdentityOptions): Promise<Identity> {
  if (!(options.isRoot ?? ownUid === 0)) return SELF;
  const user = await unprivilegedUser();
  const owner = existsSync(options.dataDir) ? lstatSync(options.dataDir).uid : undefined;
  const ways = options.ways ?? (owner === undefined || owner === 0 ? ["namespace", "setpriv"] : ["setpriv"]);
  for (const way of ways) {
    for (const identity of way === "namespace" ? [namespaceIdentity(user)] : setprivIdentities(user)) {
      if ((await runCommand(identity.wrap(["/bin/sh", "-c", 'cd "$1"', "sh", options.folder]))).code !== 0) continue;
      if (identity.kind === "setpriv" && owner === 0) giveAll(options.dataDir, identity);
      return identity;
    }
  }
  throw new UserError("PostgreSQL does not run as root, and neither `unshare -U` nor `setpriv` works here", {
    fix: "run leoflow as another user, or install util-linux and allow SETUID, SETGID and DAC_OVERRIDE",
  });
}

interface User {
  uid: number;
  gid: number;
}

/** initdb asks the system for its user's name, so the user has to exist. */
async function unprivilegedUser(): Promise<User> {
  for (const name of ["postgres", "nobody"]) {
    const [uid, gid] = await Promise.all([runCommand(["id", "-u", name]), runCommand(["id", "-g", name])]);
    if (uid.code === 0 && gid.code === 0) return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  }
  return { uid: 65534, gid: 65534 };
}

function namespaceIdentity({ uid, gid }: User): Identity {
  return {
    kind: "namespace",
    uid: ownUid,
    wrap: (command) => ["unshare", "-U", `--map-user=${uid}`, `--map-group=${gid}`, ...command],
    give: () => undefined,
  };
}

/** With fewer and fewer rights kept: a container may not have them to give. */
function setprivIdentities({ uid, gid }: User): Identity[] {
  const become = ["setpriv", "--reuid", String(uid), "--regid", String(gid), "--clear-groups"];
  return ["+dac_override,+dac_read_search", "+dac_override", undefined].map((kept) => {
    const keeping = kept ? ["--securebits=+no_setuid_fixup", "--inh-caps", kept, "--ambient-caps", kept] : [];
    return {
      kind: "setpriv" as const,
      uid,
      wrap: (command) => [...become, ...keeping, ...command],
      give: (path) => chownSync(path, uid, gid),
    };
  });
}

function giveAll(folder: string, identity: Identity): void {
  identity.give(folder);
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) identity.give(join(entry.parentPath, entry.name));
  }
}
