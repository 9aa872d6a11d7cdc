import { UserError } from "../user-error.ts";

/**
 * Names of files as text. A file system's names are bytes; most are UTF-8, and those that are not keep their odd bytes as lone
 * surrogates U+DC80–U+DCFF, as Python does it (PEP 383): lossless, and it survives JSON.
 */
export function nameFromBytes(bytes: Buffer): string {
  const text = bytes.toString("utf8");
  // What was UTF-8 comes back the same; decoding puts U+FFFD where it was not.
  if (Buffer.from(text, "utf8").equals(bytes)) return text;
  let name = "";
  for (let at = 0; at < bytes.length;) {
    const length = characterLength(bytes, at);
    name += length ? bytes.toString("utf8", at, at + length) : String.fromCharCode(0xdc00 + (bytes[at] as number));
    at += length || 1;
  }
  return name;
}

/** Bytes of the character that begins at `at`; 0 where none does. */
function characterLength(bytes: Buffer, at: number): number {
  const first = bytes[at] as number;
  if (first < 0x80) return 1;
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  const part = bytes.subarray(at, at + length);
  return Buffer.from(part.toString("utf8"), "utf8").equals(part) ? length : 0;
}

/** The bytes that `nameFromBytes` made the name from. */
export function nameToBytes(name: string): Buffer {
  // With the flag u the pattern finds lone surrogates only, no halves of a pair.
  return Buffer.concat(
    name
      .split(/([\udc80-\udcff])/u)
      .map((part, index) => (index % 2 ? Buffer.of(part.charCodeAt(0) - 0xdc00) : Buffer.from(part, "utf8"))),
  );
}

/** A name as a terminal may show it: on one line, nothing that moves the cursor. */
export function shownName(name: string): string {
  return name.replace(
    /[\u0000-\u001f\u007f-\u009f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu,
    (character) =>
      character === "\n" ? "\\n" : `\\x${(character.charCodeAt(0) & 0xff).toString(16).padStart(2, "0")}`,
  );
}

/** What an archive may hold besides its manifest. */
const PLAIN_ENTRIES = ["config.yaml", "setup.json", "datastore.sql"];
const TREES = ["workspace", "versions"];

/**
 * Whether a name is one that a backup may hold: a known file, or a path below `workspace/` or `versions/` that stays there.
 * Folders end in a slash.
 */
export function isEntryName(name: string): boolean {
  if (PLAIN_ENTRIES.includes(name)) return true;
  const [top, ...rest] = (name.endsWith("/") ? name.slice(0, -1) : name).split("/");
  if (!TREES.includes(top ?? "") || name.includes("\0")) return false;
  if (rest.length === 0) return name.endsWith("/");
  return rest.every((part) => part !== "" && part !== "." && part !== "..");
}

/** The folder's entry that must come before this one; undefined at the top. */
export function parentOf(name: string): string | undefined {
  const slash = name.lastIndexOf("/", name.length - 2);
  return slash < 0 ? undefined : name.slice(0, slash + 1);
}

/** Throws the error for a file that holds something else than a backup does. */
export function refuseEntry(name: string, why: string): never {
  throw new UserError(`the archive is not a sound backup: ${JSON.stringify(shownName(name))} ${why}`, {
    fix: "use a backup that `leoflow lite backup` wrote; nothing was changed",
  });
}
