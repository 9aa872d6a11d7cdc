import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { UserError } from "../../kit/user-error.ts";
import type { CommandResult } from "../command.ts";
import { runTied } from "../tied-command.ts";
import { BUNDLES_VARIABLE } from "./bundle-settings.ts";

/** A first fetch brings the whole history; one that takes longer goes on where the next begins. */
const FETCH_MS = 600_000;
const LOCAL_MS = 120_000;
const INDEX = ".leoflow-bundle.index";
const REFSPECS = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
/** Nothing of a repository runs, and nothing goes on after the command: a hook, a file system monitor, a clean-up. */
const SAFELY = ["core.hooksPath=/dev/null", "core.fsmonitor=false", "gc.autoDetach=false", "advice.detachedHead=false"];

/** Throws UserError where there is no git. */
export async function checkGit(bundle: string): Promise<void> {
  const { code } = await runTied(["git", "--version"], {});
  if (code === 0) return;
  throw new UserError(`the DAG bundle ${bundle} needs git, and there is no \`git\` on the PATH`, {
    fix: `install git, or take the bundle out of ${BUNDLES_VARIABLE}`,
  });
}

/** A bare copy of a repository, and a folder that holds the files of one of its commits. */
export class GitMirror {
  readonly #path: string;
  readonly #signal: AbortSignal;

  /** `path`: the bare repository's folder; `signal` ends whatever runs. */
  constructor(path: string, signal: AbortSignal) {
    this.#path = path;
    this.#signal = signal;
  }

  /** The commit whose files were checked out last; null when there is none. */
  async head(): Promise<string | null> {
    return existsSync(this.#path) ? await this.#commit("HEAD") : null;
  }

  /** Brings all branches and tags here. Throws what git says, without passwords. */
  async fetch(url: string): Promise<void> {
    if (!existsSync(this.#path)) {
      await mkdir(dirname(this.#path), { recursive: true });
      const begun = `${this.#path}.new`;
      await rm(begun, { recursive: true, force: true });
      await this.#must(["init", "--quiet", "--bare", "--template=", begun], LOCAL_MS, { GIT_DIR: undefined });
      // Never the name of a branch: a branch that is checked out could not be fetched.
      await this.#must(["symbolic-ref", "HEAD", "refs/leoflow/none"], LOCAL_MS, { GIT_DIR: begun });
      await this.#must(["fetch", "--quiet", "--prune", "--force", "--", url, ...REFSPECS], FETCH_MS, {
        GIT_DIR: begun,
      });
      await rename(begun, this.#path);
    } else {
      await this.#unlock();
      await this.#must(["fetch", "--quiet", "--prune", "--force", "--", url, ...REFSPECS], FETCH_MS);
    }
  }

  /** The commit of a branch, else of a tag, else of the commit so called; null when there is none. */
  async resolve(ref: string): Promise<string | null> {
    const names = [`refs/heads/${ref}`, `refs/tags/${ref}`, ...(/^[0-9a-f]{4,64}$/i.test(ref) ? [ref] : [])];
    for (const name of names) {
      const commit = await this.#commit(name);
      if (commit !== null) return commit;
    }
    return null;
  }

  /** Makes the folder's files those of the commit. What is the same stays untouched, so do files git does not know. */
  async checkOut(commit: string, folder: string): Promise<void> {
    // Beside the files it tells of: a mirror that is made anew still knows which of them to remove.
    const index = join(folder, INDEX);
    await rm(`${index}.lock`, { force: true });
    await this.#unlock();
    const env = { GIT_WORK_TREE: folder, GIT_INDEX_FILE: index };
    await this.#must(["checkout", "--quiet", "--force", "--detach", commit], LOCAL_MS, env);
  }

  /** A git that was killed left its locks; there is no other at work here. */
  async #unlock(): Promise<void> {
    const refs = (await readdir(join(this.#path, "refs"), { recursive: true })).map((name) => join("refs", name));
    for (const name of [...(await readdir(this.#path)), ...refs]) {
      if (name.endsWith(".lock")) await rm(join(this.#path, name), { force: true });
    }
  }

  async #commit(name: string): Promise<string | null> {
    const result = await this.#git(["rev-parse", "--verify", "--quiet", `${name}^{commit}`], LOCAL_MS);
    return result.code === 0 ? result.stdout.trim() : null;
  }

  async #must(args: readonly string[], timeoutMs: number, env: Record<string, string | undefined> = {}): Promise<void> {
    const { code, output } = await this.#git(args, timeoutMs, env);
    if (code !== 0) throw new Error(withoutPasswords(output.trim()) || `git ${args[0]} ended with ${code}`);
  }

  async #git(
    args: readonly string[],
    timeoutMs: number,
    env: Record<string, string | undefined> = {},
  ): Promise<CommandResult> {
    const timeout = AbortSignal.timeout(timeoutMs);
    try {
      return await runTied(["git", ...SAFELY.flatMap((setting) => ["-c", setting]), ...args], {
        signal: AbortSignal.any([this.#signal, timeout]),
        env: {
          // Ours may be those of a hook that started us.
          ...{ GIT_WORK_TREE: undefined, GIT_INDEX_FILE: undefined, GIT_OBJECT_DIRECTORY: undefined },
          ...{ GIT_COMMON_DIR: undefined, GIT_NAMESPACE: undefined, GIT_DIR: this.#path },
          GIT_TERMINAL_PROMPT: "0",
          LC_ALL: "C",
          ...env,
        },
      });
    } catch (error) {
      if (timeout.aborted) throw new Error(`git ${args[0]} took longer than ${timeoutMs / 60_000} minutes`);
      throw error;
    }
  }
}

/** `https://user:token@host` in what git says. */
export function withoutPasswords(text: string): string {
  return text.replaceAll(/\/\/[^@/\s]+@/g, "//***@");
}
