// `npm run bench [-- backup|scale|triggers|upgrade]`: one of the measurements of this folder; main.ts when none is named.
const named = ["backup", "scale", "triggers", "upgrade"].includes(process.argv[2])
  ? process.argv.splice(2, 1)[0]
  : "main";
process.argv.splice(2, 0, new URL(`${named}.ts`, import.meta.url).pathname);
await import("../test/script.mjs");
