import { programVersion } from "../kit/version.ts";

const WRONG_USE = 2;

/** All a program does that is installed with the others but whose work this release cannot do yet. */
export function announceMissingProgram(name: string, meaning: string): void {
  if (process.argv.slice(2).some((option) => option === "--version" || option === "-V")) {
    process.stdout.write(`${programVersion}\n`);
    return;
  }
  process.stderr.write(
    `error: this release has no ${name} (${meaning}) yet\n` +
      "  fix: run `leoflow lite`, which holds everything on one machine\n",
  );
  process.exitCode = WRONG_USE;
}
