/** Unsaved text, kept by the browser tab: going back, a crash or an ended session loses none of it. */
export interface Draft {
  text: string;
  /** Of the content that was changed. */
  tag: string;
}

const keyOf = (path: string) => `leoflow.draft:${path}`;

export function keepDraft(path: string, draft: Draft): void {
  try {
    sessionStorage.setItem(keyOf(path), JSON.stringify(draft));
  } catch {
    // The browser's few megabytes are full. What is on the screen is still there.
  }
}

export function dropDraft(path: string): void {
  sessionStorage.removeItem(keyOf(path));
}

export function draftOf(path: string): Draft | null {
  const text = sessionStorage.getItem(keyOf(path));
  return text === null ? null : (JSON.parse(text) as Draft);
}
