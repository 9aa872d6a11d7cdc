const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** Bytes as people read them, in powers of 1000: `formatBytes(1_234_567)` is "1.2 MB". */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}
