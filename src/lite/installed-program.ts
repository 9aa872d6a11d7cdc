import {
  existsSync,
  lstatSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

/** What install.sh writes behind the line that it adds to a shell's profile. */
export const PATH_MARK = "# added by Leoflow's install.sh";

const COMMANDS = ["leoflow", "leoflow-server", "leoflow-agent"];

/** Where the running program came from, and so what an uninstall may remove of it. */
export type InstalledProgram =
  /** By install.sh: all versions are in `lib`, and `commands` are links to them. */
  | { kind: "installed"; lib: string; commands: string[]; profiles: string[] }
  /** Another program's to remove, or a folder of the user's. */
  | { kind: "homebrew" | "folder"; folder: string };

/** `program` is the folder with dist/ and python/. */
export function findProgram(program: string): InstalledProgram {
  const folder = realpathSync(program);
  if (folder.includes("/Cellar/leoflow/")) return { kind: "homebrew", folder };
  const lib = dirname(folder);
  const isLayout = basename(lib) === "leoflow" && basename(dirname(lib)) === "lib" && isLink(join(lib, "current"));
  if (!isLayout) return { kind: "folder", folder };
  const prefix = dirname(dirname(lib));
  const commands = [join(prefix, "bin"), prefix]
    .flatMap((bin) => COMMANDS.map((name) => join(bin, name)))
    .filter((file) => isLink(file) && resolve(dirname(file), readlinkSync(file)).startsWith(join(lib, "current/")));
  return { kind: "installed", lib, commands, profiles: profilesOf(lib).filter((file) => hasPathLine(file, commands)) };
}

/** Takes install.sh's line out of a profile; all else stays byte for byte. */
export function removePathLine(profile: string, commands: readonly string[]): void {
  // A profile that is a link into the user's dotfiles stays one.
  const file = realpathSync(profile);
  const lines = readFileSync(file, "utf8").split("\n");
  const kept = lines.filter((line) => !isPathLine(line, commands)).join("\n");
  const fresh = `${file}.leoflow.new`;
  writeFileSync(fresh, kept, { mode: statSync(file).mode });
  renameSync(fresh, file);
}

function profilesOf(lib: string): string[] {
  const list = join(lib, "profiles");
  return existsSync(list) ? readFileSync(list, "utf8").split("\n").filter(Boolean) : [];
}

function hasPathLine(file: string, commands: readonly string[]): boolean {
  try {
    return readFileSync(file, "utf8")
      .split("\n")
      .some((line) => isPathLine(line, commands));
  } catch {
    return false;
  }
}

/** Another installation's line is not ours. */
function isPathLine(line: string, commands: readonly string[]): boolean {
  if (!line.endsWith(PATH_MARK)) return false;
  const named = /\*":([^"]+):"\*|contains -- "([^"]+)"/.exec(line);
  const bin = named?.[1] ?? named?.[2];
  const first = commands[0];
  if (bin === undefined || first === undefined || !existsSync(bin)) return false;
  return realpathSync(bin) === realpathSync(dirname(first));
}

function isLink(file: string): boolean {
  return lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}
