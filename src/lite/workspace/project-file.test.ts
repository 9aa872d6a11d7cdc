import { expect, it } from "vitest";
import { parseProjectFile } from "./project-file.ts";

it("reads dependencies, connectors, the DAG file's name and what is said of the DAG", () => {
  const text = `
schema_version: 1.0
dag_id: sales
description: Sales of the day
schedule: 0 6 * * *
schedule_timezone: Europe/Berlin
python_version: 3.10
dag_source: flow/main.py
dependencies:
  - pandas==2.2.3
  - "requests>=2 ; python_version >= '3.10'"
  - uvicorn[standard] ~= 0.30
connectors: [postgres, microsoft.mssql]
defaults: { retry_delay_seconds: 5 }
tags:
tasks:
  etl.load:
    retries: 3
    env: { PORT: 8080, RATIO: 1.50, DEBUG: true, NAME: no }
    resources: { limits: { cpu: 0.5 } }
`;
  expect(parseProjectFile(text, "p/leoflow.yaml")).toMatchObject({
    kind: "read",
    project: {
      dependencies: [
        "pandas==2.2.3",
        "requests>=2 ; python_version >= '3.10'",
        "uvicorn[standard] ~= 0.30",
        "apache-airflow-providers-postgres",
        "apache-airflow-providers-microsoft-mssql",
      ],
      dagSource: "flow/main.py",
      settings: {
        schema_version: "1.0",
        python_version: "3.10",
        tasks: { "etl.load": { resources: { limits: { cpu: "0.5" } } } },
      },
      overlay: {
        file: "p/leoflow.yaml",
        dag_id: "sales",
        places: { dag_id: "3:1", schedule_timezone: "6:1", "tasks.etl.load": "17:3" },
        dag: { description: "Sales of the day", schedule: "0 6 * * *", schedule_timezone: "Europe/Berlin" },
        defaults: { retry_delay_seconds: 5 },
        tasks: { "etl.load": { retries: 3, env: { PORT: "8080", RATIO: "1.50", DEBUG: "true", NAME: "no" } } },
      },
      unused: ["python_version", "tasks.etl.load.resources"],
    },
  });
});

it("takes an empty file for one that says nothing, and null as a schedule", () => {
  const read = (text: string) => parseProjectFile(text, "leoflow.yaml");
  expect(read("# later\n")).toMatchObject({ kind: "read", project: { dagSource: "dag.py", overlay: null } });
  expect(read("dependencies: [a]\n")).toMatchObject({ project: { overlay: null } });
  expect(read("schedule:\n")).toMatchObject({ project: { overlay: { dag: { schedule: null } } } });
});

it.each([
  ["dag_id: x\ndependancies: []\n", '2:1: unknown key "dependancies"; did you mean "dependencies"?'],
  ["tasks:\n  load:\n    retrys: 1\n", '3:5: unknown key "tasks.load.retrys"; did you mean "retries"?'],
  ["defaults:\n  resource: {}\n", '2:3: unknown key "defaults.resource"; did you mean "resources"?'],
  ["dependencies: pandas\n", '1:15: dependencies must be a list of strings, not "pandas"'],
  ["dependencies:\n  - 1\n", '2:5: dependencies must be a requirement such as "pandas==2.2.3"'],
  [
    "dependencies: ['-r x.txt']\n",
    '1:16: dependencies must be a requirement such as "pandas==2.2.3"; options and paths',
  ],
  ["dependencies: ['pandas=2']\n", '1:16: dependencies must be a requirement such as "pandas==2.2.3"'],
  [
    "connectors: [apache-airflow-providers-http==1]\n",
    '1:14: connectors must be the name of a provider such as "postgres"',
  ],
  ["system_packages: [-y]\n", "1:19: system_packages must be the name of a Debian package"],
  ["dag_source: ../other/dag.py\n", "1:13: dag_source must be a .py file inside the project"],
  ["include_paths: [/etc]\n", '1:17: include_paths must be a path inside the project, not "/etc"'],
  ["exclude_paths: [a/../../b]\n", "1:17: exclude_paths must be a path inside the project"],
  ["dag_id: a b\n", "1:9: dag_id must start with a letter, a digit or _"],
  ["schema_version: 2\n", '1:17: schema_version must be one of 1.0, 1, not "2"'],
  ["python_version: 3.9\n", '1:17: python_version must be one of 3.10, 3.11, 3.12, 3.13, not "3.9"'],
  ["schedule: every day\n", '1:11: invalid schedule "every day": '],
  ["schedule: 5\n", '1:11: schedule must be a text, not "5"'],
  ["schedule: '@daily'\nschedule_timezone: Mars/One\n", '2:20: there is no time zone "Mars/One"'],
  ["schedule: '@once'\nschedule_timezone: UTC\n", "2:20: schedule_timezone needs a cron expression as schedule"],
  ["max_active_runs: 0\n", '1:18: max_active_runs must be a whole number from 1 to 100000, not "0"'],
  ["defaults:\n  retries: 1.5\n", '2:12: defaults.retries must be a whole number from 0 to 100, not "1.5"'],
  ["tasks:\n  a:\n    retries: -1\n", '3:14: tasks.a.retries must be a whole number from 0 to 100, not "-1"'],
  [
    "tasks:\n  a:\n    execution_timeout_seconds: 0\n",
    "3:32: tasks.a.execution_timeout_seconds must be a whole number from 1 to",
  ],
  ["tasks:\n  a:\n    env: { 1A: x }\n", '3:12: unknown key "tasks.a.env.1A"'],
  ["tasks:\n  a:\n    env: { A: [1] }\n", "3:15: tasks.a.env.A must be a text, not a list"],
  [
    "tasks:\n  a:\n    resources: { limits: { memory: lots } }\n",
    '3:36: tasks.a.resources.limits.memory must be an amount of memory such as "512Mi"',
  ],
  [
    "tasks:\n  a:\n    resources: { requests: { cpu: 1x } }\n",
    '3:35: tasks.a.resources.requests.cpu must be an amount of CPUs such as "500m"',
  ],
  [
    "tasks:\n  a:\n    execution: { image_pull_policy: Maybe }\n",
    "3:37: tasks.a.execution.image_pull_policy must be one of Always, IfNotPresent, Never",
  ],
  ["tasks:\n  a:\n    execution: { tolerations: x }\n", "3:31: tasks.a.execution.tolerations must be a list of maps"],
  ["tasks:\n  a: 3\n", '2:6: tasks.a must be a map of keys and values, not "3"'],
  [
    "registry: { tag_strategy: latest }\n",
    "1:27: registry.tag_strategy must be one of version, git_sha, git_tag, custom",
  ],
  ["registry: { auth_method: basic }\n", "1:26: registry.auth_method must be one of docker_config, env, iam"],
  ["build: { platforms: [linux] }\n", '1:22: build.platforms must be a platform such as "linux/amd64"'],
  ["staging: { enabled: maybe }\n", '1:21: staging.enabled must be true or false, not "maybe"'],
  ["staging: { size: big }\n", '1:18: staging.size must be a size such as "1Gi"'],
  ["connections: [a b]\n", "1:15: connections must be an id without blanks"],
  ["alerts: []\n", "1:1: not supported yet: alerts; use on_failure_callback in dag.py"],
  ["dbt: { project: x }\n", "1:1: not supported yet: dbt; run dbt with a BashOperator in dag.py"],
  ["dbt_groups: {}\n", "1:1: not supported yet: dbt_groups"],
  ["- a\n", "1:1: the file must be a map of keys and values, not a list"],
  ["a: 1\na: 2\n", "2:1: Map keys must be unique"],
  ["a: [1\nb: 2\n", "2:"],
])("refuses %j with the place", (text, message) => {
  const outcome = parseProjectFile(text, "p/leoflow.yaml");
  expect(outcome.kind === "broken" ? outcome.message : "").toContain(`p/leoflow.yaml:${message}`);
});
