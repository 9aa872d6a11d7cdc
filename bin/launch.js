"use strict";
// A file of its own: a Node too old for import() stops in check-node.js and never reads this one.
var existsSync = require("node:fs").existsSync;
var join = require("node:path").join;

/** Starts one of the programs in dist/. */
module.exports = function (program) {
  if (!existsSync(join(__dirname, "..", "dist", program))) {
    process.stderr.write(
      "error: Leoflow is not built\n  fix: run `npm start` (or `npm ci && npm run build`) in " +
        join(__dirname, "..") +
        "\n",
    );
    process.exit(1);
  }
  import("../dist/" + program).catch(function (error) {
    process.stderr.write("error: " + (error && error.stack ? error.stack : error) + "\n");
    process.exit(1);
  });
};
