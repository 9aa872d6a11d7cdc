/** How set-up tells a person what it does. The terminal's version is in cli/; tests use `silentProgress`. */
export interface Progress {
  /** One step: shown while it runs, with its time when it is done. Steps may run side by side. */
  step<T>(title: string, work: (detail: (text: string) => void) => Promise<T>): Promise<T>;
  /** A line worth reading that is neither a step nor an error. */
  note(text: string): void;
}

export const silentProgress: Progress = {
  step: (_title, work) => work(() => undefined),
  note: () => undefined,
};
