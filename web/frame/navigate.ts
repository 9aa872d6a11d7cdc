/**
 * Opens a page of Airflow's UI in the window around us. The frame we are in may not do so itself (its sandbox has no
 * `allow-top-navigation`), a link of the page around may.
 */
export function openAround(href: string): void {
  const outer = window.parent.document;
  const link = outer.createElement("a");
  link.href = href;
  outer.body.append(link);
  link.click();
  link.remove();
}

document.addEventListener("click", (event) => {
  const link = (event.target as Element | null)?.closest<HTMLAnchorElement>('a[target="_parent"], a[target="_top"]');
  if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  openAround(link.href);
});
