/**
 * The part of a sequence that Python's `[start:stop:step]` reads, as the lowest position, how many positions from there, and
 * the step (negative: from the high end down). A step of 0 counts as 1, as the Execution API has it.
 */
export function sliceBounds(
  slice: { start: number | null; stop: number | null; step: number | null },
  length: number,
): { offset: number; limit: number; step: number } {
  const step = slice.step || 1;
  const [lowest, highest] = step > 0 ? [0, length] : [-1, length - 1];
  const clamp = (value: number) => Math.min(Math.max(value < 0 ? value + length : value, lowest), highest);
  const start = slice.start === null ? (step > 0 ? lowest : highest) : clamp(slice.start);
  const stop = slice.stop === null ? (step > 0 ? highest : lowest) : clamp(slice.stop);
  const limit = Math.max(0, step > 0 ? stop - start : start - stop);
  return { offset: step > 0 ? start : stop + 1, limit, step };
}
