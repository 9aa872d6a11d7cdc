import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** A git repository with a branch `main`, for what reads one. */
export interface TestRepository {
  /** `file://…` */
  url: string;
  /** Writes these files (null: removes one), commits, and returns the commit. */
  commit(files: Record<string, string | null>): string;
  git(...args: string[]): string;
}

export function createRepository(folder: string): TestRepository {
  mkdirSync(folder, { recursive: true });
  const git = (...args: string[]) =>
    execFileSync("git", ["-c", "user.name=Tests", "-c", "user.email=tests@leoflow.local", ...args], {
      cwd: folder,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    }).trim();
  git("init", "--quiet", "--initial-branch=main");
  return {
    url: `file://${folder}`,
    git,
    commit(files) {
      for (const [name, text] of Object.entries(files)) {
        if (text === null) git("rm", "--quiet", name);
        else {
          mkdirSync(dirname(join(folder, name)), { recursive: true });
          writeFileSync(join(folder, name), text);
        }
      }
      git("add", "--all");
      git("commit", "--quiet", "--allow-empty", "--message=a test's");
      return git("rev-parse", "HEAD");
    },
  };
}
