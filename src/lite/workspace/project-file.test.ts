import { expect, it } from "vitest";
import { parseProjectFile } from "./project-file.ts";

it("reads dependencies, connectors and the DAG file's name", () => {
  const text = `
schema_version: "1.0"
dag_id: sales
dag_source: flow/main.py
dependencies:
  - pandas==2.2.3
  - "requests>=2 ; python_version >= '3.10'"
connectors: [postgres, microsoft.mssql]
tasks:
  load:
    retries: 3
    resources: { limits: { cpu: "1" } }
`;
  expect(parseProjectFile(text, "p/leoflow.yaml")).toEqual({
    kind: "read",
    project: {
      dependencies: [
        "pandas==2.2.3",
        "requests>=2 ; python_version >= '3.10'",
        "apache-airflow-providers-postgres",
        "apache-airflow-providers-microsoft-mssql",
      ],
      dagSource: "flow/main.py",
      unused: ["dag_id", "tasks"],
    },
  });
});

it("takes an empty file for one that says nothing", () => {
  expect(parseProjectFile("# later\n", "leoflow.yaml")).toMatchObject({
    kind: "read",
    project: { dagSource: "dag.py" },
  });
});

it.each([
  ["dag_id: x\ndependancies: []\n", 'p/leoflow.yaml:2:1: unknown key "dependancies"; did you mean "dependencies"?'],
  ["tasks:\n  load:\n    retrys: 1\n", 'p/leoflow.yaml:3:5: unknown key "tasks.load.retrys"; did you mean "retries"?'],
  ["dependencies: pandas\n", "p/leoflow.yaml:1:15: dependencies must be a list of strings"],
  ["dependencies:\n  - 1\n", "p/leoflow.yaml:2:5: dependencies must be a list of strings"],
  ["dependencies: ['-r x.txt']\n", 'p/leoflow.yaml:1:16: dependencies takes requirements such as "pandas==2.2.3"'],
  ["dag_source: ../other/dag.py\n", "p/leoflow.yaml:1:13: dag_source must be a .py file inside the project"],
  ["- a\n", "p/leoflow.yaml:1:1: expected a map of keys and values"],
  ["a: [1\nb: 2\n", "p/leoflow.yaml:2:"],
])("refuses %j with the place", (text, message) => {
  const outcome = parseProjectFile(text, "p/leoflow.yaml");
  expect(outcome.kind === "broken" ? outcome.message : "").toContain(message);
});
