// Old JavaScript on purpose: a Node that is too old must be able to read this and say so.
"use strict";
var found = process.versions.node.split(".").map(Number);
if (found[0] < 20 || (found[0] === 20 && found[1] < 11)) {
  process.stderr.write(
    "error: Leoflow needs Node 20.11 or newer, this is Node " +
      process.versions.node +
      "\n" +
      "  fix: install a newer one (https://nodejs.org, or `nvm install 20`) and run the same command again\n",
  );
  process.exit(1);
}
if (process.platform === "win32") {
  process.stderr.write(
    "error: Leoflow does not run on Windows itself\n  fix: use it inside WSL 2, with Node installed there\n",
  );
  process.exit(1);
}
