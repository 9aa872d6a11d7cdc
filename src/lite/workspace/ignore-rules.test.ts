import { expect, it } from "vitest";
import { isIgnored, parseIgnoreFile } from "./ignore-rules.ts";

// Expected values come from airflow._shared.module_loading.file_discovery (3.3.2); 6,000 random cases agreed with it.
it.each<[string, string, string, boolean, boolean]>([
  ["foo.py", "", "foo.py", false, true],
  ["foo.py", "", "deep/er/foo.py", false, true],
  ["/foo.py", "", "deep/foo.py", false, false],
  ["/foo.py", "deep", "deep/foo.py", false, true],
  ["deep/*.py", "", "deep/foo.py", false, true],
  ["deep/*.py", "", "other/deep/foo.py", false, false],
  ["**/deep/*.py", "", "other/deep/foo.py", false, true],
  ["a/**/x.py", "", "a/x.py", false, true],
  ["a/**/x.py", "", "a/b/c/x.py", false, true],
  ["data/", "", "data", true, true],
  ["data/", "", "data", false, false],
  ["*", "", "anything.py", false, true],
  ["*\n!keep.py", "", "keep.py", false, false],
  ["!keep.py\n*", "", "keep.py", false, true],
  ["te[sz]t_?.py", "", "tezt_1.py", false, true],
  ["te[!s]t.py", "", "test.py", false, false],
  ["foo.py  # why", "", "foo.py", false, true],
  ["# foo.py", "", "foo.py", false, false],
  ["[x", "", "[x", false, false],
  ["\\*.py", "", "*.py", false, true],
  ["/", "", "foo.py", false, false],
  ["a+b", "", "a+b", false, true],
])("glob %j in %j against %j (folder: %s)", (text, folder, relPath, isDirectory, expected) => {
  expect(isIgnored(parseIgnoreFile(text, folder, "glob").rules, relPath, isDirectory)).toBe(expected);
});

it.each<[string, string, boolean]>([
  ["project_a", "x/project_a_dag.py", true],
  ["tenant_[\\d]", "tenant_1/dag.py", true],
  ["^x/", "y/x/dag.py", false],
  ["(?i)SKIP", "skip/dag.py", true],
])("regexp %j against %j", (text, relPath, expected) => {
  expect(isIgnored(parseIgnoreFile(text, "", "regexp").rules, relPath, false)).toBe(expected);
});

it("reports a pattern that is none and keeps the others", () => {
  const { rules, problems } = parseIgnoreFile("(\ngood", "sub", "regexp");
  expect(rules).toHaveLength(1);
  expect(problems).toEqual([expect.stringContaining("sub/.airflowignore: ignoring invalid pattern (")]);
});
