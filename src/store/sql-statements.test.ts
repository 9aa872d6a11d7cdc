import { expect, it } from "vitest";
import { loadMigrations } from "./migrations.ts";
import { splitStatements } from "./sql-statements.ts";

it.each<[string, string, string[]]>([
  ["semicolons", "select 1; select 2;\n", ["select 1", "select 2"]],
  [
    "texts",
    "select 'a;b', 'it''s; so', e'\\';', \"odd;name\"; select 2",
    [`select 'a;b', 'it''s; so', e'\\';', "odd;name"`, "select 2"],
  ],
  ["line comments", "-- first; one\nselect 1 -- it's\n; -- the end", ["select 1"]],
  ["nested comments", "/* a; /* b; */ c; */ select 1; /* open", ["select 1"]],
  [
    "dollar quotes",
    "do $$ begin; end; $$; create function f() as $x$ a; $$ b; $x$; select $1",
    ["do $$ begin; end; $$", "create function f() as $x$ a; $$ b; $x$", "select $1"],
  ],
  ["nothing", " ;; -- no", []],
])("splits at semicolons that are one: %s", (_name, text, statements) => {
  expect(splitStatements(text)).toEqual(statements);
});

it("splits this release's migrations into what they are made of", () => {
  const statements = loadMigrations().flatMap(({ sql }) => splitStatements(sql));
  expect(statements.length).toBeGreaterThan(30);
  expect(statements.filter((text) => !/^(create|insert|alter|update|drop|delete|do|comment)\s/i.test(text))).toEqual(
    [],
  );
});
