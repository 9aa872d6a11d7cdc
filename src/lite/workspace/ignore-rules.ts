import { posix } from "node:path";

export type IgnoreSyntax = "glob" | "regexp";

/** One line of an `.airflowignore`. */
export interface IgnoreRule {
  /** true ignores what it matches, false (`!pattern`) takes it back. */
  ignores: boolean;
  matches(relPath: string, isDirectory: boolean): boolean;
}

/**
 * Reads an `.airflowignore` as Airflow 3 does (airflow._shared.module_loading.file_discovery). `folder` is where the file
 * lies, below the workspace. Lines that make no pattern are reported and left out, where Airflow would give up the whole scan.
 */
export function parseIgnoreFile(
  text: string,
  folder: string,
  syntax: IgnoreSyntax,
): { rules: IgnoreRule[]; problems: string[] } {
  const rules: IgnoreRule[] = [];
  const problems: string[] = [];
  for (const line of text.split("\n")) {
    const pattern = line.replace(/\s*#.*/, "");
    if (pattern.trim() === "") continue;
    try {
      const rule = syntax === "glob" ? globRule(pattern, folder) : regexpRule(pattern);
      if (rule) rules.push(rule);
    } catch (error) {
      problems.push(`${posix.join(folder, ".airflowignore")}: ignoring invalid pattern ${pattern}: ${String(error)}`);
    }
  }
  return { rules, problems };
}

/** Glob: the last rule that matches decides. Regexp: any match ignores. */
export function isIgnored(rules: readonly IgnoreRule[], relPath: string, isDirectory: boolean): boolean {
  return rules.findLast((rule) => rule.matches(relPath, isDirectory))?.ignores ?? false;
}

// Airflow matches regexps against the path below the DAGs folder, wherever the ignore file lies.
function regexpRule(pattern: string): IgnoreRule {
  const insensitive = /^\(\?i\)/.test(pattern);
  const source = pattern.replace(/^\(\?i\)/, "").replaceAll("(?P<", "(?<");
  const regexp = new RegExp(source, insensitive ? "i" : "");
  return { ignores: true, matches: (relPath) => regexp.test(relPath) };
}

function globRule(pattern: string, folder: string): IgnoreRule | null {
  const regexp = globToRegExp(pattern);
  if (!regexp) return null;
  const trimmed = pattern.trimEnd();
  const anchored = pattern.startsWith("/") || pattern.replace(/\/+$/, "").includes("/");
  const directoriesOnly = trimmed.replace(/^!+/, "").endsWith("/");
  return {
    ignores: !pattern.startsWith("!"),
    matches(relPath, isDirectory) {
      if (directoriesOnly && !isDirectory) return false;
      const subject = anchored ? posix.relative(folder, relPath) : posix.basename(relPath);
      return regexp.test(isDirectory ? `${subject}/` : subject);
    },
  };
}

/** gitignore's pattern language, as the `pathspec` package translates it (GitIgnoreSpecPattern); null matches nothing. */
function globToRegExp(pattern: string): RegExp | null {
  let body = pattern.endsWith("\\ ") ? pattern : pattern.trimEnd();
  if (body === "" || body === "/") return null;
  if (body.startsWith("!")) body = body.slice(1);
  const segments = body.split("/");
  const directoryPattern = segments.at(-1) === "";
  if (segments[0] === "") segments.shift();
  else if (segments.length === 1 || (segments.length === 2 && segments[1] === "")) {
    if (segments[0] !== "**") segments.unshift("**");
  }
  if (segments.length === 0) throw new Error("nothing left to match");
  if (segments.at(-1) === "") segments[segments.length - 1] = "**";
  const parts = segments.filter((segment, index) => !(segment === "**" && segments[index - 1] === "**"));

  const [first, second, third] = parts;
  if (parts.length === 1 && first === "**") return directoryPattern ? /\// : /./;
  if (parts.length === 2 && first === "**" && second === "*") return /./;
  if (parts.length === 3 && first === "**" && second === "*" && third === "**") return /\//;

  let source = "";
  let needsSlash = false;
  for (const [index, part] of parts.entries()) {
    const last = index === parts.length - 1;
    if (part === "**") {
      if (index === 0) source += "^(?:.+/)?";
      else if (last) source += "/";
      else {
        source += "(?:/.+)?";
        needsSlash = true;
      }
      continue;
    }
    if (index === 0) source += "^";
    if (needsSlash) source += "/";
    const segment = part === "*" ? "[^/]+" : segmentSource(part);
    if (segment === null) return null;
    source += segment;
    if (last) source += "(?:/|$)";
    needsSlash = true;
  }
  return new RegExp(source);
}

/** One path segment; null where Git drops the pattern (a bracket without its end). */
function segmentSource(segment: string): string | null {
  let source = "";
  for (let i = 0; i < segment.length; i++) {
    const char = segment[i] as string;
    if (char === "\\") {
      i++;
      if (i >= segment.length) throw new Error("a backslash with nothing to escape");
      source += escape(segment[i] as string);
    } else if (char === "*") source += "[^/]*";
    else if (char === "?") source += "[^/]";
    else if (char === "[") {
      let start = i + 1;
      const negated = segment[start] === "!" || segment[start] === "^";
      if (negated) start++;
      // A bracket right at the start is a member, not the end.
      const end = segment.indexOf("]", segment[start] === "]" ? start + 1 : start);
      if (end < 0) return null;
      const members = segment.slice(start, end).replace(/[\\[\]]/g, "\\$&");
      source += `[${negated ? "^" : ""}${members}]`;
      i = end;
    } else source += escape(char);
  }
  return source;
}

function escape(char: string): string {
  return char.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}
