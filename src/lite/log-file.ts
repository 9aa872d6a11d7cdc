import { closeSync, copyFileSync, existsSync, fstatSync, openSync, readSync, statSync, truncateSync } from "node:fs";

const ROTATE_BYTES = 10 * 1024 * 1024;

/**
 * Keeps a log that other processes append to below 10 MB: its content moves to `<file>.1` and the file is cut to nothing.
 * Writers that opened it for appending go on at its new end.
 */
export function rotateLog(file: string, limitBytes = ROTATE_BYTES): boolean {
  if (!existsSync(file) || statSync(file).size < limitBytes) return false;
  copyFileSync(file, `${file}.1`);
  truncateSync(file, 0);
  return true;
}

/** The last lines of a file, from `since` on. */
export function lastLines(file: string, count: number, since = 0): string[] {
  if (!existsSync(file)) return [];
  const handle = openSync(file, "r");
  try {
    const size = fstatSync(handle).size;
    const from = Math.max(size < since ? 0 : since, size - 64 * 1024);
    const buffer = Buffer.alloc(Math.max(0, size - from));
    readSync(handle, buffer, 0, buffer.length, from);
    return buffer.toString("utf8").trimEnd().split("\n").filter(Boolean).slice(-count);
  } finally {
    closeSync(handle);
  }
}
