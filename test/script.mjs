// `node test/script.mjs FILE.ts [ARGUMENT …]`: runs a script of this repository.
import { runScript } from "./bundle-script.mjs";

const [script] = process.argv.splice(2, 1);
if (script === undefined) throw new Error("which script? node test/script.mjs FILE.ts");
await runScript(script);
