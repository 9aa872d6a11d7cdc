/**
 * Whether a browser that follows `next` stays on this host. Checked as given and once decoded, by the URL parser that
 * browsers use: it reads `\` as `/`, drops tabs and newlines, and takes `//host` for another host. The scheme is free between
 * http and https, because a proxy in front may speak the other one.
 */
export function isSafeNext(next: string, host: string): boolean {
  return [next, decoded(next)].every((target) => {
    if (target === null) return false;
    const plain = target
      .replaceAll(/[\t\n\r]/g, "")
      .trim()
      .replaceAll("\\", "/");
    // `http:host` is relative on an http page and another host on an https page.
    if (plain.startsWith("//") || /^[a-z][a-z0-9+.-]*:(?!\/\/)/i.test(plain)) return false;
    try {
      const url = new URL(plain, `http://${host}`);
      return /^https?:$/.test(url.protocol) && url.host === new URL(`${url.protocol}//${host}`).host;
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
