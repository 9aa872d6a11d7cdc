type Child = Node | string;

/** An element with properties and children; text is text, never HTML. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export interface Choice<T> {
  label: string;
  value: T;
  primary?: boolean;
}

/** Asks in a dialog of our own: the frame around us allows no `confirm()`. Escape is null. */
export function choose<T>(message: Child, choices: readonly Choice<T>[]): Promise<T | null> {
  return new Promise((resolve) => {
    const menu = element("menu");
    const dialog = element("dialog", {}, typeof message === "string" ? element("p", {}, message) : message, menu);
    const close = (value: T | null) => {
      dialog.remove();
      resolve(value);
    };
    for (const { label, value, primary } of choices) {
      const button = element("button", { type: "button", className: primary ? "primary" : "" }, label);
      button.addEventListener("click", () => close(value));
      menu.append(button);
    }
    dialog.addEventListener("cancel", () => close(null));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Asks for a line of text; null when it was not given. */
export async function askText(message: string, text = "", confirm = "OK"): Promise<string | null> {
  const input = element("input", { value: text, size: 48, autofocus: true, ariaLabel: message });
  const form = element("div", {}, element("p", {}, message), input);
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    input.closest("dialog")?.querySelector<HTMLButtonElement>("button.primary")?.click();
  });
  const answer = await choose(form, [
    { label: "Cancel", value: false },
    { label: confirm, value: true, primary: true },
  ]);
  return answer ? input.value.trim() || null : null;
}
