// Imported before Leoflow: its wall clock is ahead by as many milliseconds as the file SHIFT_FILE says. Timers go on as they are.
import { readFileSync, watch } from "node:fs";
import { dirname } from "node:path";

const file = process.env.SHIFT_FILE;
const RealDate = Date;
let shiftMs = 0;
const read = () => {
  try {
    shiftMs = Number(readFileSync(file, "utf8")) || 0;
  } catch {
    // not written yet
  }
};
read();
watch(dirname(file), read).unref();

globalThis.Date = class Date extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(RealDate.now() + shiftMs);
    else super(...args);
  }
  static now() {
    return RealDate.now() + shiftMs;
  }
};
