// Imported before a program: SIGKILL just before its n-th removal or renaming of a file. How many there were is written down.
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const at = Number(process.env.KILL_AT);
let steps = 0;
for (const name of ["renameSync", "rmSync", "rmdirSync", "linkSync"]) {
  const original = fs[name];
  fs[name] = (...args) => {
    steps++;
    fs.writeFileSync(process.env.KILL_COUNT, String(steps));
    if (steps === at) process.kill(process.pid, "SIGKILL");
    return original(...args);
  };
}
syncBuiltinESMExports();
