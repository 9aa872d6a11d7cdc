import { readFileSync } from "node:fs";
import { join } from "node:path";
import { format } from "prettier";
import { expect, it } from "vitest";
import { DAG_JSON_SCHEMA } from "../src/domain/dag-json.ts";
import { PRO_KEYS, PROJECT_SCHEMA } from "../src/domain/project-schema.ts";
import type { Rule } from "../src/lite/workspace/project-values.ts";

const root = join(import.meta.dirname, "..");

/** `npx vitest run test/schemas.test.ts -u` writes them anew. */
it.each([
  ["leoflow.schema.json", PROJECT_SCHEMA],
  ["dag.schema.json", DAG_JSON_SCHEMA],
])("%s is what the code checks", async (name, schema) => {
  const text = await format(JSON.stringify(schema), { parser: "json", printWidth: 120 });
  await expect(text).toMatchFileSnapshot(join(root, "schemas", name));
});

it("has every key of leoflow.yaml in docs/authoring.md", async () => {
  const page = readFileSync(join(root, "docs/authoring.md"), "utf8");
  const table = ["| key | value | |", "|---|---|---|", ...rows(PROJECT_SCHEMA as Described, "")].join("\n");
  const made = page.replace(/(<!-- keys: .*? -->\n).*?(<!-- \/keys -->)/s, `$1\n${table}\n\n$2`);
  await expect(made).toMatchFileSnapshot(join(root, "docs/authoring.md"));
});

type Described = Rule & { description?: string; default?: unknown; items?: Described };

const IMAGE = new Set(["python_version", "base_image", "system_packages", "build", "registry"]);

function* rows({ properties = {} }: Rule, path: string, note = ""): Generator<string> {
  for (const [key, rule] of Object.entries(properties as Record<string, Described>)) {
    const full = path ? `${path}.${key}` : key;
    const inner = (PRO_KEYS.has(key) && (IMAGE.has(key) ? " *Image.*" : " *Pro.*")) || note;
    const standard = rule.default === undefined ? "" : ` Default: \`${JSON.stringify(rule.default)}\`.`;
    const { "^[A-Za-z0-9_.-]+$": named } = rule.patternProperties ?? {};
    if (rule.properties) {
      yield `| \`${full}\` | | ${rule.description ?? ""}${inner} |`;
      yield* rows(rule, full, inner);
    } else if (named?.properties) {
      yield `| \`${full}.<task_id>\` | | ${rule.description ?? ""} |`;
      yield* rows(named, `${full}.<task_id>`, inner);
    } else yield `| \`${full}\` | ${valueOf(rule)} | ${rule.description ?? ""}${standard}${inner} |`;
  }
}

function valueOf(rule: Described): string {
  if (rule.enum) return rule.enum.map((value) => `\`${value}\``).join(", ");
  if (rule.patternErrorMessage) return rule.patternErrorMessage.replace(/^must (be )?/, "").replaceAll("|", "\\|");
  if (rule.type === "array")
    return rule.items?.type === "object" ? "list of maps" : `list: ${valueOf(rule.items ?? {})}`;
  if (rule.type === "object") return "map of names to values";
  if (rule.type === "integer") return `${rule.minimum} to ${rule.maximum}`;
  if (rule.type === "boolean") return "`true`, `false`";
  return Array.isArray(rule.type) ? "text or `null`" : "text";
}
