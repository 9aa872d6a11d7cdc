// `npm start`. Only what an old Node can read too: it is to be told which Node is needed.
import { createRequire } from "module";

createRequire(import.meta.url)("./check-node.js");
import("./set-up.mjs").then(function (setUp) {
  return setUp.startLite(process.argv.slice(2));
});
