"use strict";
// A file of its own: a Node too old for import() stops in check-node.js and never reads this one.
var existsSync = require("node:fs").existsSync;
var join = require("node:path").join;

var main = join(__dirname, "..", "dist", "main.js");
if (!existsSync(main)) {
  process.stderr.write(
    "error: Leoflow is not built\n  fix: run `npm start` (or `npm ci && npm run build`) in " +
      join(__dirname, "..") +
      "\n",
  );
  process.exit(1);
}
import("../dist/main.js").catch(function (error) {
  process.stderr.write("error: " + (error && error.stack ? error.stack : error) + "\n");
  process.exit(1);
});
