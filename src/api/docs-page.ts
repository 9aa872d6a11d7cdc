/** The parts of an OpenAPI document that its page shows. */
export interface OpenApiDocument {
  info: { title: string; version: string; description?: string };
  /** Where paths begin; the host's root without it. */
  servers?: { url: string }[];
  paths: Record<string, Record<string, OperationObject>>;
  components: { schemas: Record<string, unknown> };
}

interface OperationObject {
  tags?: string[];
  summary?: string;
  description?: string;
  parameters?: { name: string; in: string; required?: boolean; description?: string; schema: SchemaObject }[];
  requestBody?: { content: Record<string, { schema: SchemaObject }> };
  responses: Record<string, { description: string; content?: Record<string, { schema?: SchemaObject }> }>;
}

interface SchemaObject {
  $ref?: string;
  type?: string | string[];
  format?: string;
  enum?: unknown[];
  const?: unknown;
  anyOf?: SchemaObject[];
  oneOf?: SchemaObject[];
  items?: SchemaObject;
  default?: unknown;
}

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
summary{cursor:pointer;padding:.2rem 0}summary code{font-weight:600}details>*:not(summary){margin-left:1.2rem}
table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;padding:.15rem .8rem .15rem 0}
pre{overflow:auto;padding:.6rem;border:1px solid #8884}.m{display:inline-block;width:4.2rem;font:600 12px monospace}`;

/** The API's description as one page without scripts, which needs nothing from the internet. */
export function docsPage({ info, paths, components }: OpenApiDocument): string {
  const byTag = new Map<string, string[]>();
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "";
      byTag.set(tag, [...(byTag.get(tag) ?? []), operationPart(method, path, operation)]);
    }
  }
  const tags = [...byTag].sort(([a], [b]) => a.localeCompare(b));
  const schemas = Object.entries(components.schemas).map(
    ([name, schema]) =>
      `<details id="${escape(name)}"><summary><code>${escape(name)}</code></summary><pre>${escape(JSON.stringify(schema, null, 2))}</pre></details>`,
  );
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escape(info.title)}</title><style>${STYLE}</style></head><body>
<h1>${escape(info.title)} ${escape(info.version)}</h1><p><a href="openapi.json">openapi.json</a></p>
${paragraphs(info.description)}
${tags.map(([tag, operations]) => `<h2>${escape(tag)}</h2>${operations.join("\n")}`).join("\n")}
<h2>Schemas</h2>${schemas.join("\n")}</body></html>
`;
}

function operationPart(method: string, path: string, operation: OperationObject): string {
  const parameters = (operation.parameters ?? []).map(
    ({ name, in: place, required, description, schema }) =>
      `<tr><td><code>${escape(name)}</code>${required ? " *" : ""}</td><td>${escape(place)}</td><td>${typeOf(schema)}</td><td>${escape(description ?? "")}</td></tr>`,
  );
  const bodies = Object.entries(operation.requestBody?.content ?? {}).map(
    ([type, { schema }]) => `<p>Body: ${escape(type)}, ${typeOf(schema)}</p>`,
  );
  const responses = Object.entries(operation.responses).map(([status, { description, content = {} }]) => {
    const types = Object.entries(content).map(
      ([type, { schema }]) => `${escape(type)}${schema ? `, ${typeOf(schema)}` : ""}`,
    );
    return `<tr><td>${escape(status)}</td><td>${escape(description)}</td><td>${types.join("; ")}</td></tr>`;
  });
  return `<details><summary><span class="m">${method.toUpperCase()}</span><code>${escape(path)}</code> ${escape(operation.summary ?? "")}</summary>
${paragraphs(operation.description)}${bodies.join("")}
${parameters.length > 0 ? `<table>${parameters.join("")}</table>` : ""}<h4>Answers</h4><table>${responses.join("")}</table></details>`;
}

function typeOf(schema: SchemaObject): string {
  const branches = schema.anyOf ?? schema.oneOf;
  if (branches) return branches.map(typeOf).join(" or ");
  if (schema.$ref) {
    const name = escape(schema.$ref.split("/").at(-1) ?? "");
    return `<a href="#${name}">${name}</a>`;
  }
  if (schema.enum) return schema.enum.map((value) => escape(JSON.stringify(value))).join(" or ");
  if (schema.const !== undefined) return escape(JSON.stringify(schema.const));
  if (schema.items) return `list of ${typeOf(schema.items)}`;
  const type = escape(String(schema.type ?? "anything"));
  const given = schema.default === undefined ? "" : `, default ${escape(JSON.stringify(schema.default))}`;
  return `${type}${schema.format ? ` (${escape(schema.format)})` : ""}${given}`;
}

function paragraphs(text = ""): string {
  return text
    .split(/\n{2,}/)
    .filter((part) => part.trim() !== "")
    .map((part) => `<p>${escape(part)}</p>`)
    .join("\n");
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
