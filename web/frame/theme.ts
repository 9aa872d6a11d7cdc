import "./frame.css";

const COLOURS = ["bg", "bg-subtle", "bg-muted", "fg", "fg-muted", "fg-error", "border"];

/** Looks as Airflow's UI around us looks, light or dark, now and when the user switches. */
export function followTheme(onChange: (dark: boolean) => void = () => undefined): void {
  const outer = window.parent.document.documentElement;
  const alone = window.parent === window;
  const apply = () => {
    const dark = alone ? prefersDark() : outer.classList.contains("dark");
    const own = document.documentElement;
    own.classList.toggle("dark", dark);
    if (!alone) {
      const theirs = window.parent.getComputedStyle(outer);
      own.style.fontFamily = window.parent.getComputedStyle(window.parent.document.body).fontFamily;
      for (const colour of COLOURS) {
        const name = `--chakra-colors-${colour}`;
        own.style.setProperty(name, theirs.getPropertyValue(name));
      }
    }
    onChange(dark);
  };
  apply();
  if (!alone) new MutationObserver(apply).observe(outer, { attributes: true, attributeFilter: ["class"] });
}

/** What next-themes remembers of the user's choice. */
function prefersDark(): boolean {
  const chosen = localStorage.getItem("theme") ?? "system";
  return chosen === "system" ? matchMedia("(prefers-color-scheme: dark)").matches : chosen === "dark";
}
