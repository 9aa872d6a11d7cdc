import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expandHome, type Environment } from "../kit/config.ts";
import { UserError } from "../kit/user-error.ts";
import { askNewSecret, askSecret, canAsk } from "./ask.ts";

/** The passphrase for a new backup: from a file, the environment, or asked for twice. */
export async function newBackupPassphrase(file: string | undefined, environment: Environment): Promise<string> {
  const given = givenPassphrase(file, environment);
  if (given !== undefined) return given;
  if (!canAsk()) throw noPassphrase();
  return askNewSecret("Passphrase");
}

/** The passphrase of a backup there is: from a file, the environment, or asked for. */
async function backupPassphrase(file: string | undefined, environment: Environment): Promise<string> {
  const given = givenPassphrase(file, environment) ?? (canAsk() ? await askSecret("Passphrase: ") : undefined);
  if (!given) throw noPassphrase();
  return given;
}

/** The backup that a command is given, and its passphrase where it has one. */
export async function givenBackup(
  { input, passphraseFile }: { input: string; passphraseFile?: string | undefined },
  environment: Environment,
): Promise<{ archive: string; passphrase: string | undefined }> {
  const { isEncryptedArchive } = await import("../backup/archive.ts");
  const archive = resolve(expandHome(input, environment.userHome));
  const isEncrypted = await isEncryptedArchive(archive);
  return { archive, passphrase: isEncrypted ? await backupPassphrase(passphraseFile, environment) : undefined };
}

function givenPassphrase(file: string | undefined, environment: Environment): string | undefined {
  if (file === undefined) return environment.backupPassphrase;
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new UserError(`cannot read the passphrase file ${file}: ${(error as Error).message}`, { cause: error });
  }
  const [passphrase] = text.split(/\r?\n/);
  if (passphrase) return passphrase;
  throw new UserError(`the passphrase file ${file} is empty`, { fix: "write the passphrase into its first line" });
}

function noPassphrase(): UserError {
  return new UserError("no passphrase was given", {
    fix: "run the command on a terminal to be asked for it, or give --passphrase-file or LEOFLOW_BACKUP_PASSPHRASE",
    exitCode: 2,
  });
}
