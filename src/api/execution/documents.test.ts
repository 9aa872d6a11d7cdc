import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { executionDocuments } from "./documents.ts";
import { VERSIONS } from "./versions.ts";

const dir = mkdtempSync(join(tmpdir(), "leoflow-documents-"));
afterAll(() => rmSync(dir, { recursive: true }));

it("asks Airflow for its documents once, and keeps them", async () => {
  const source = join(dir, "airflow/api_fastapi/execution_api/versions");
  mkdirSync(source, { recursive: true });
  writeFileSync(join(source, "__init__.py"), "");
  const cacheDir = join(dir, "cache");
  const asked: unknown[] = [];
  const context = {
    airflowPackageDir: dir,
    python: async (request: unknown) => {
      asked.push(request);
      return Object.fromEntries(VERSIONS.map((version) => [version, `of ${version}`]));
    },
  };
  const documents = executionDocuments(context, { cacheDir });
  expect(await documents("2026-05-01")).toBeUndefined();
  expect(await documents("../../etc/passwd")).toBeUndefined();
  const both = await Promise.all([documents("2026-06-30"), documents("2025-04-11")]);
  expect(both).toEqual(["of 2026-06-30", "of 2025-04-11"]);
  expect(await executionDocuments(context, { cacheDir })("2026-04-06")).toBe("of 2026-04-06");
  expect(asked).toEqual([{ kind: "execution_openapi" }]);
  expect(readdirSync(cacheDir)).toHaveLength(VERSIONS.length);
});
