import { silentProgress } from "../../src/lite/progress.ts";
import type { LeoflowPaths } from "../../src/lite/paths.ts";
import { ensurePython } from "../../src/lite/python/base-python.ts";
import { Toolchain } from "../../src/lite/python/toolchain.ts";

// Makes the base environment with these paths and that CPython, in a process that a test can kill.
const [paths = "{}", pinned = ""] = process.argv.slice(2);
const resolved = JSON.parse(paths) as LeoflowPaths;
await ensurePython(resolved, silentProgress, new Toolchain(resolved, silentProgress, undefined, pinned));
process.stdout.write("{}\n");
