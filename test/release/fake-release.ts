import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { putProgram } from "./tools.ts";

const HOST = `${process.platform}_${process.arch}`;

export interface FakeRelease {
  version: string;
  archive: string;
  sha256: string;
}

export interface FakeReleaseOptions {
  /** "linux_x64"; this machine's. */
  platform?: string;
  offline?: boolean;
  /** Over what `leoflow version` prints. */
  says?: string;
  /** Part of a file, so that the same version can have other bytes. */
  note?: string;
}

/**
 * An archive of the right layout whose `leoflow` only tells its version and writes down how `setup` was called: enough for
 * the installer's own mechanics, and quick to install a hundred times. Real releases are tested in upgrade.test.ts.
 */
export function makeFakeRelease(releases: string, version: string, options: FakeReleaseOptions = {}): FakeRelease {
  const parent = mkdtempSync(join(tmpdir(), "leoflow-fake-"));
  const folder = join(parent, `leoflow-${version}`);
  const bin = join(folder, "bin");
  for (const name of ["leoflow", "leoflow-server", "leoflow-agent"]) {
    putProgram(
      bin,
      name,
      `case $1 in
version) echo '${options.says ?? `leoflow ${version} (a fake)`}' ;;
setup)
  if [ -t 0 ]; then input=terminal; else input=none; fi
  echo "$* input=$input" >>"$HOME/setup-calls"
  if [ "$input" = terminal ]; then printf 'Workspace: '; read -r answer; echo "workspace=$answer" >>"$HOME/setup-calls"; fi
  [ ! -e "$HOME/setup-fails" ] ;;
esac`,
    );
  }
  // The hook is for tests that kill the installation around each step.
  const hook = '[ -z "${KILL_HOOK:-}" ] || . "$KILL_HOOK"';
  putProgram(join(folder, "lib"), "node", `${hook}\n'${process.execPath}' "$@" || exit\n${hook}`);
  writeFileSync(join(folder, "VERSION"), `${version}\n`);
  writeFileSync(join(folder, "note"), options.note ?? "");

  const name = `leoflow_${version}_${options.platform ?? HOST}${options.offline ? "_offline" : ""}.tar.gz`;
  const place = join(releases, `v${version}`);
  mkdirSync(place, { recursive: true });
  const archive = join(place, name);
  execFileSync("tar", ["-czf", archive, "-C", parent, `leoflow-${version}`]);
  rmSync(parent, { recursive: true });
  const sha256 = createHash("sha256").update(readFileSync(archive)).digest("hex");
  appendFileSync(join(place, "checksums.txt"), `${sha256}  ${name}\n`);
  writeFileSync(join(releases, "latest"), `${version}\n`);
  return { version, archive, sha256 };
}
