import { join } from "node:path";
import { format } from "prettier";
import { expect, it } from "vitest";
import { DAG_JSON_SCHEMA } from "../src/domain/dag-json.ts";
import { PROJECT_SCHEMA } from "../src/domain/project-schema.ts";

/** `npx vitest run test/schemas.test.ts -u` writes them anew. */
it.each([
  ["leoflow.schema.json", PROJECT_SCHEMA],
  ["dag.schema.json", DAG_JSON_SCHEMA],
])("%s is what the code checks", async (name, schema) => {
  const text = await format(JSON.stringify(schema), { parser: "json", printWidth: 120 });
  await expect(text).toMatchFileSnapshot(join(import.meta.dirname, "../schemas", name));
});
