import { resolvePaths } from "../../src/lite/paths.ts";
import { planUninstall, uninstall } from "../../src/lite/uninstall.ts";

// An uninstall as a process that a test can kill: home, user's home, folder of the program, "purge" or "plain".
const [home = "", userHome = "", program = "", mode] = process.argv.slice(2);
const options = { paths: { ...resolvePaths(home), program }, environment: { userHome }, purge: mode === "purge" };
const plan = await planUninstall(options);
const problems = plan ? await uninstall(options, plan, { onStep: () => undefined }) : [];
console.log(JSON.stringify({ problems, planned: plan !== undefined }));
