// `npm run bench [-- api|backup|agents|scale|triggers|upgrade]`: one of the measurements of this folder; main.ts when none is named.
import { fileURLToPath } from "node:url";
import { runScript } from "../test/bundle-script.mjs";

const named = ["api", "backup", "agents", "scale", "triggers", "upgrade"].includes(process.argv[2])
  ? process.argv.splice(2, 1)[0]
  : "main";
await runScript(fileURLToPath(new URL(`${named}.ts`, import.meta.url)));
