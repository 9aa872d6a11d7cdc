/** Waits for a condition, because tests do not sleep; names it when it does not come. A condition that throws ends the wait. */
export async function until(
  what: string,
  condition: () => Promise<boolean> | boolean,
  seconds = 60,
  pauseMs = 20,
): Promise<void> {
  const end = performance.now() + seconds * 1000;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
