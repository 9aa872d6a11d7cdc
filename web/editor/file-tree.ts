import { element } from "../frame/elements.ts";
import type { FileEntry } from "./server.ts";

export interface TreeState {
  /** The open file, or the folder that was clicked last. */
  selected: string | null;
  unsaved: ReadonlySet<string>;
  broken: ReadonlySet<string>;
}

/** The workspace's folders and files; folders fold. */
export class FileTree {
  readonly view = element("nav", { className: "tree", ariaLabel: "Files of the workspace" });
  readonly #onSelect: (entry: FileEntry) => void;
  readonly #open = new Set<string>();
  #entries: readonly FileEntry[] = [];
  #state: TreeState = { selected: null, unsaved: new Set(), broken: new Set() };

  constructor(onSelect: (entry: FileEntry) => void) {
    this.#onSelect = onSelect;
  }

  show(entries: readonly FileEntry[], state: TreeState): void {
    this.#entries = entries;
    this.#state = state;
    this.#draw();
  }

  /** Unfolds what is around a path. */
  reveal(path: string): void {
    const parts = path.split("/");
    for (let count = 1; count < parts.length; count++) this.#open.add(parts.slice(0, count).join("/"));
  }

  #draw(): void {
    const lists = new Map<string, HTMLUListElement>([["", element("ul")]]);
    for (const entry of this.#entries) {
      const folder = entry.path.split("/").slice(0, -1).join("/");
      const item = element("li", {}, this.#row(entry));
      lists.get(folder)?.append(item);
      if (entry.kind !== "folder" || !this.#open.has(entry.path)) continue;
      const inner = element("ul");
      lists.set(entry.path, inner);
      item.append(inner);
    }
    const focused = document.activeElement?.getAttribute("data-path");
    this.view.replaceChildren(lists.get("") as HTMLUListElement);
    if (focused) this.view.querySelector<HTMLElement>(`[data-path="${CSS.escape(focused)}"]`)?.focus();
  }

  #row(entry: FileEntry): HTMLButtonElement {
    const { path, kind, ignored, read_only } = entry;
    const { selected, unsaved, broken } = this.#state;
    const isOpen = this.#open.has(path);
    const mark = kind === "folder" ? (isOpen ? "▾" : "▸") : "";
    const row = element(
      "button",
      {
        type: "button",
        title: [path, read_only ? "read-only" : "", ignored ? "ignored" : ""].filter(Boolean).join(", "),
      },
      element("span", { className: "mark" }, mark),
      path.split("/").pop() ?? path,
    );
    row.dataset["path"] = path;
    row.classList.toggle("ignored", ignored);
    row.classList.toggle("broken", broken.has(path));
    row.classList.toggle("unsaved", unsaved.has(path));
    if (kind === "folder") row.ariaExpanded = String(isOpen);
    if (path === selected) row.setAttribute("aria-current", "true");
    row.addEventListener("click", () => {
      if (kind === "folder") {
        if (isOpen) this.#open.delete(path);
        else this.#open.add(path);
      }
      this.#onSelect(entry);
      this.#draw();
    });
    return row;
  }
}
