/**
 * Asks before unsaved text is left. Airflow's page is around us: it is what reloads and closes, and its links take us away
 * without an event of our own.
 */
export function guardLeaving(unsaved: () => readonly string[]): void {
  const outer = window.parent;
  const onUnload = (event: Event) => {
    if (unsaved().length > 0) event.preventDefault();
  };
  const onClick = (event: MouseEvent) => {
    const link = (event.target as Element | null)?.closest?.("a[href]");
    const paths = unsaved();
    if (!link || link.getAttribute("target") === "_blank" || paths.length === 0) return;
    if (outer.confirm(`Not saved: ${paths.join(", ")}\n\nLeave the editor? The text is kept in this browser tab.`))
      return;
    event.preventDefault();
    event.stopPropagation();
  };
  outer.addEventListener("beforeunload", onUnload);
  if (outer !== window) outer.document.addEventListener("click", onClick, true);
  window.addEventListener("pagehide", () => {
    outer.removeEventListener("beforeunload", onUnload);
    outer.document.removeEventListener("click", onClick, true);
  });
}
