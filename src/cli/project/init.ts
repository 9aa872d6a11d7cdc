import { lstatSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { DAG_ID_PATTERN } from "../../domain/project-names.ts";
import { UserError } from "../../kit/user-error.ts";
import { usage } from "../remote/remote-command.ts";
import { TEMPLATES } from "./templates.ts";

export interface InitOptions {
  template: string;
  dagId?: string;
}

/** Writes a template's files. Throws UserError where one is in the way. */
export async function init(
  path: string,
  { template, dagId }: InitOptions,
  write: (line: string) => void,
): Promise<void> {
  const id =
    dagId ??
    basename(resolve(path))
      .replaceAll(/[^\w-]/g, "_")
      .replace(/^-+/, "");
  if (!new RegExp(DAG_ID_PATTERN).test(id)) {
    throw usage(`${JSON.stringify(dagId ?? path)} gives no dag_id`, "name one with --dag-id: letters, digits, _ and -");
  }
  const files = Object.entries(TEMPLATES[template]?.files ?? {}).map(
    ([name, text]) => [join(path, name.replace("ID", id)), text.replaceAll(/\bID(?=\b|_)/g, id)] as const,
  );
  const taken = files.map(([file]) => file).find(isThere);
  if (taken !== undefined) {
    throw new UserError(`${taken} is in the way; nothing was written`, {
      fix: "choose another folder, or move it away",
    });
  }
  for (const [file, text] of files) {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text, { flag: "wx" });
  }
  write(`Initialized Leoflow project "${id}" in ${path}\n`);
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
