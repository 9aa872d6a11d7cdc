/**
 * The statements of a file, without comments around them and without the semicolons between them. Quoted texts, dollar quotes
 * and nested comments are seen; what psql adds to SQL (`\copy`) is not.
 */
export function splitStatements(text: string): string[] {
  const statements: string[] = [];
  let statement = "";
  let at = 0;
  while (at < text.length) {
    const rest = text.slice(at, at + 64);
    if (rest.startsWith("--")) {
      at = endOf(text, "\n", at);
      statement += "\n";
    } else if (rest.startsWith("/*")) {
      at = endOfComment(text, at);
      statement += " ";
    } else if (text[at] === ";") {
      statements.push(statement);
      statement = "";
      at += 1;
    } else {
      const end = endOfQuoted(text, at, statement) ?? at + 1;
      statement += text.slice(at, end);
      at = end;
    }
  }
  return [...statements, statement].map((each) => each.trim()).filter(Boolean);
}

/** Where what is quoted from `at` on ends; undefined where nothing quoted begins. */
function endOfQuoted(text: string, at: number, before: string): number | undefined {
  const quote = text[at];
  if (quote === "'" || quote === '"') {
    const escapes = quote === "'" && /(^|[^\w$])[eE]$/.test(before);
    for (let end = at + 1; end < text.length; end++) {
      if (escapes && text[end] === "\\") end += 1;
      // A doubled quote is one inside: the text goes on.
      else if (text[end] === quote && text[end + 1] === quote) end += 1;
      else if (text[end] === quote) return end + 1;
    }
    return text.length;
  }
  if (quote !== "$" || /[\w$]$/.test(before)) return undefined;
  const tag = /^\$(?:[A-Za-z_]\w*)?\$/.exec(text.slice(at, at + 64))?.[0];
  return tag === undefined ? undefined : endOf(text, tag, at + tag.length);
}

function endOfComment(text: string, at: number): number {
  let depth = 0;
  for (let end = at; end < text.length - 1; end++) {
    const two = text.slice(end, end + 2);
    if (two !== "/*" && two !== "*/") continue;
    depth += two === "/*" ? 1 : -1;
    end += 1;
    if (depth === 0) return end + 1;
  }
  return text.length;
}

function endOf(text: string, what: string, from: number): number {
  const found = text.indexOf(what, from);
  return found < 0 ? text.length : found + what.length;
}
