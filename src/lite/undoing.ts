/** What to do when it is over, the last first. */
export type Undo = (() => Promise<void> | void)[];

/** Starts something that `stop` takes down again, step by step. Where it fails, what was started before is stopped again. */
export async function undoing<T extends object>(
  start: (undo: Undo) => Promise<T>,
): Promise<T & { stop(): Promise<void> }> {
  const undo: Undo = [];
  const stop = async () => {
    for (let step = undo.pop(); step; step = undo.pop()) await step();
  };
  try {
    return { ...(await start(undo)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
