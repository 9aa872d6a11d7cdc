export interface DurationStats {
  mean: number;
  mode: number | null;
  p50: number;
  p90: number;
  p95: number;
  p99: number;
}

/** Statistics of run durations in seconds, as Airflow computes them; null without any. */
export function durationStats(durations: readonly number[]): DurationStats | null {
  if (durations.length === 0) return null;
  const sorted = [...durations].sort((a, b) => a - b);
  const percentile = (percent: number): number => {
    const at = ((sorted.length - 1) * percent) / 100;
    const low = Math.floor(at);
    const [below = 0, above = below] = sorted.slice(low, low + 2);
    return thousandths(below + (above - below) * (at - low));
  };
  return {
    mean: thousandths(sorted.reduce((sum, seconds) => sum + seconds, 0) / sorted.length),
    mode: modeOf(sorted.map(Math.round)),
    p50: percentile(50),
    p90: percentile(90),
    p95: percentile(95),
    p99: percentile(99),
  };
}

const thousandths = (value: number) => Math.round(value * 1000) / 1000;

/** The smallest of the most frequent values; null when each is there once. */
function modeOf(values: readonly number[]): number | null {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  const most = Math.max(...counts.values());
  if (most <= 1) return null;
  return Math.min(...[...counts].filter(([, count]) => count === most).map(([value]) => value));
}
