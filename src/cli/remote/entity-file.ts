import { LineCounter, parseDocument, visit } from "yaml";
import { ExactObject, parseExact, pythonDumps, type ExactJson } from "../../kit/exact-json.ts";
import { UserError } from "../../kit/user-error.ts";

/** The files of `airflow connections|variables|pools export` and `import`: an object by name, or lines of NAME=VALUE. */
export const FORMATS = ["json", "yaml", "env"] as const;
export type Format = (typeof FORMATS)[number];

export interface EntityFile {
  /** Names and values in the file's order; of lines, the values are texts. */
  entries: readonly (readonly [name: string, value: unknown])[];
  /** The value of a name with its numbers as they were written. */
  exactOf(name: string): ExactJson;
  /** The value as an object. Throws UserError. */
  objectOf(name: string, value: unknown): Record<string, unknown>;
  /** `problem` completes "NAME …". */
  error(name: string, problem: string): UserError;
}

/** The format a file's name says. Throws UserError, in which `--format` is the way out. */
export function formatOf(file: string, asked: string | undefined, allowed: readonly Format[]): Format {
  const ending = /\.([a-z]+)$/i.exec(file)?.[1]?.toLowerCase();
  const named = asked ?? (ending === "yml" ? "yaml" : ending);
  const format = allowed.find((each) => each === named);
  if (format) return format;
  const choices = allowed.join(", ");
  const what =
    asked === undefined
      ? `${file === "-" ? "stdin" : file} does not say its format`
      : `--format is ${JSON.stringify(asked)}`;
  throw new UserError(what, { fix: `give --format, one of ${choices}`, exitCode: 2 });
}

/** Reads such a file. Throws UserError naming the place of what is wrong. */
export function parseEntities(file: string, text: string, format: Format): EntityFile {
  const error = (name: string, problem: string) =>
    new UserError(`${file}: ${name} ${problem}`, { fix: "correct the file and import it again; nothing was changed" });
  const bad = (place: string, problem: string) => error(place, problem);
  const parsed = parsers[format](text, bad);
  return {
    entries: Object.entries(parsed.plain),
    exactOf: (name) => {
      const exact = parsed.exact instanceof ExactObject ? parsed.exact.entries.get(name) : undefined;
      return exact ?? toExact(parsed.plain[name]);
    },
    objectOf(name, value) {
      if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
      throw error(name, "is no object");
    },
    error,
  };
}

interface Parsed {
  plain: Record<string, unknown>;
  exact?: ExactJson;
}

type Bad = (place: string, problem: string) => UserError;

const parsers: Record<Format, (text: string, bad: Bad) => Parsed> = {
  json(text, bad) {
    try {
      const plain = JSON.parse(text) as unknown;
      return { plain: requireObject(plain, bad), exact: parseExact(text) };
    } catch (error) {
      if (error instanceof UserError) throw error;
      throw bad("it", `is not JSON: ${(error as Error).message}`);
    }
  },
  yaml(text, bad) {
    const lines = new LineCounter();
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
    const [problem] = document.errors;
    if (problem) {
      const { line, col } = lines.linePos(problem.pos[0]);
      throw bad(`line ${line}, column ${col}:`, problem.message.split("\n")[0] ?? "is not YAML");
    }
    return { plain: requireObject(document.toJS(), bad) };
  },
  env(text, bad) {
    const plain: Record<string, unknown> = {};
    text.split(/\r?\n/).forEach((line, at) => {
      if (line === "" || /^\s*#/.test(line)) return;
      const [, name, value] = /^([^=]+)=(.+)$/.exec(line) ?? [];
      if (name === undefined) throw bad(`line ${at + 1}`, "is not NAME=VALUE");
      if (name in plain) throw bad(`line ${at + 1}`, `gives ${name} a second time`);
      plain[name] = value;
    });
    return { plain };
  },
};

function requireObject(value: unknown, bad: Bad): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw bad("it", "must hold an object, {name: value}");
}

/** Writes such a file; `line` says a value as one line of an .env file. */
export function entitiesText(
  entries: readonly (readonly [string, ExactJson])[],
  format: Format,
  line: (value: ExactJson) => string,
): string {
  if (format === "env") return entries.map(([name, value]) => `${name}=${line(value)}\n`).join("");
  const text = pythonDumps(new ExactObject(new Map(entries)), { indent: 4 });
  if (format === "json") return `${text}\n`;
  // JSON is YAML: read as such its numbers stay as they are.
  const document = parseDocument(text, { intAsBigInt: true });
  visit(document, {
    Collection: (_key, node) => void (node.flow = false),
    Scalar: (_key, node) => void (typeof node.value === "string" && delete node.type),
  });
  return document.toString();
}

export function toExact(value: unknown): ExactJson {
  return parseExact(JSON.stringify(value ?? null));
}
