/**
 * Whether a browser that follows `next` stays on this origin. Checked as given and once decoded, by the URL parser that
 * browsers use: it reads `\` as `/`, drops tabs and newlines, and takes `//host` for another host.
 */
export function isSafeNext(next: string, origin: string): boolean {
  return [next, decoded(next)].every((target) => {
    if (target === null) return false;
    const plain = target.trim().replaceAll("\\", "/");
    if (plain.startsWith("//")) return false;
    try {
      const url = new URL(plain, origin);
      return (url.protocol === "http:" || url.protocol === "https:") && url.origin === new URL(origin).origin;
    } catch {
      return false;
    }
  });
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
