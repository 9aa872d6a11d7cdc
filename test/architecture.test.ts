import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { builtinModules } from "node:module";
import { describe, expect, it } from "vitest";

/** Which folder of src/ may import which. ARCHITECTURE.md draws the same picture. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  kit: [],
  domain: ["kit"],
  store: ["kit", "domain"],
  agent: ["kit", "domain"],
  scheduler: ["kit", "domain", "store"],
  execution: ["kit", "domain", "store"],
  executors: ["kit", "domain", "store", "agent"],
  api: ["kit", "domain", "store", "execution"],
  backup: ["kit", "store"],
  lite: ["kit", "domain", "store", "agent", "scheduler", "execution", "executors", "api", "backup"],
  worker: ["kit", "domain", "agent", "executors", "lite"],
  cli: ["kit", "domain", "store", "lite", "api", "backup", "worker"],
};

/** Which npm packages each folder may use at run time. */
const PACKAGES: Record<string, readonly string[]> = {
  kit: ["pino", "yaml", "uuid", "@node-rs/argon2"],
  domain: ["typebox"],
  store: ["kysely", "pg"],
  agent: [],
  scheduler: [],
  execution: [],
  executors: [],
  api: ["fastify", "@fastify/type-provider-typebox", "typebox", "jose", "@node-rs/argon2", "yaml"],
  backup: ["pg", "age-encryption"],
  lite: ["pg", "yaml", "prom-client", "esbuild"],
  worker: [],
  cli: ["commander", "yaml"],
};

/** What our own pages may use; they are the browser's and share no code with src/. */
const PAGE_PACKAGES: Record<string, readonly string[]> = { editor: ["monaco-editor"] };

const root = resolve(import.meta.dirname, "..");
const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
  .map((file) => join(root, "src", file));

interface Import {
  from: string;
  to: string;
  typeOnly: boolean;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(file, "utf8");
  const found = text.matchAll(
    /(?:^|\n)\s*(?:import\s+(?:(type)\s+)?(?:[\w*{}\s,$]+\sfrom\s+)?|export\s+(?:(type)\s+)?[\w*{}\s,$]+\sfrom\s+)["']([^"']+)["']|import\(\s*["']([^"']+)["']\s*\)/g,
  );
  return [...found].map((match) => ({
    from: file,
    to: (match[3] ?? match[4]) as string,
    typeOnly: (match[1] ?? match[2]) !== undefined,
  }));
}

const imports = files.flatMap(importsOf);
const folderOf = (file: string) => relative(join(root, "src"), file).split("/")[0] ?? "";
const isTopLevel = (file: string) => !relative(join(root, "src"), file).includes("/");

describe("architecture", () => {
  it("sees the imports at all", () => {
    expect(imports.length).toBeGreaterThan(2 * files.length);
  });

  it("imports only downwards", () => {
    const wrong = imports
      .filter(({ from, to }) => to.startsWith(".") && !isTopLevel(from))
      .map(({ from, to }) => ({ from, folder: folderOf(from), target: folderOf(resolve(dirname(from), to)) }))
      .filter(({ folder, target }) => target !== folder && !(MAY_IMPORT[folder] ?? []).includes(target))
      .map(({ from, target }) => `${relative(root, from)} imports ${target}`);
    expect(wrong).toEqual([]);
  });

  it("uses only the packages its folder may use", () => {
    const wrong = imports
      .filter(({ from, to }) => !to.startsWith(".") && !to.startsWith("node:") && !isTopLevel(from))
      .filter(({ to }) => !builtinModules.includes(to))
      .map(({ from, to }) => {
        const parts = to.split("/");
        return { from, name: to.startsWith("@") ? parts.slice(0, 2).join("/") : (parts[0] ?? to) };
      })
      .filter(({ from, name }) => !(PACKAGES[folderOf(from)] ?? []).includes(name))
      .map(({ from, name }) => `${relative(root, from)} uses ${name}`);
    expect(wrong).toEqual([]);
  });

  it("has no import cycles", () => {
    const edges = new Map<string, string[]>();
    for (const { from, to, typeOnly } of imports) {
      if (!to.startsWith(".") || typeOnly) continue;
      edges.set(from, [...(edges.get(from) ?? []), resolve(dirname(from), to)]);
    }
    const done = new Set<string>();
    const cycles: string[] = [];
    const visit = (file: string, path: string[]): void => {
      if (path.includes(file)) {
        cycles.push([...path.slice(path.indexOf(file)), file].map((step) => relative(root, step)).join(" -> "));
        return;
      }
      if (done.has(file)) return;
      for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
      done.add(file);
    };
    for (const file of files) visit(file, []);
    expect(cycles).toEqual([]);
  });

  it("keeps each page of web/ to itself, web/frame and its packages", () => {
    const pages = join(root, "web");
    const wrong = readdirSync(pages, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts"))
      .flatMap((file) => importsOf(join(pages, file)))
      // What the server says in its answers, for the types alone.
      .filter(({ to, typeOnly }) => !(typeOnly && /^(\.\.\/)+src\//.test(to)))
      .filter(({ from, to }) => {
        const page = relative(pages, from).split("/")[0] ?? "";
        if (!to.startsWith(".")) return !(PAGE_PACKAGES[page] ?? []).includes(to.split("/")[0] ?? "");
        return ![page, "frame"].includes(relative(pages, resolve(dirname(from), to)).split("/")[0] ?? "");
      })
      .map(({ from, to }) => `${relative(root, from)} imports ${to}`);
    expect(wrong).toEqual([]);
  });

  it("keeps SQL in the store and process.env in kit/config.ts", () => {
    const wrong = files
      .filter((file) => folderOf(file) !== "store")
      .filter((file) =>
        /\bsql`|\.selectFrom\(|\.insertInto\(|\.updateTable\(|\.deleteFrom\(/.test(readFileSync(file, "utf8")),
      )
      .map((file) => `${relative(root, file)} holds SQL`);
    const env = files
      .filter((file) => relative(join(root, "src"), file) !== "kit/config.ts")
      .filter((file) => /process\.env\b/.test(readFileSync(file, "utf8")))
      .map((file) => `${relative(root, file)} reads process.env`);
    expect([...wrong, ...env]).toEqual([]);
  });
});
