import { Type, type Static } from "typebox";
import { PROJECT_SCHEMA } from "./project-schema.ts";

const STRICT = { additionalProperties: false } as const;
const project = PROJECT_SCHEMA.properties;
const sha256 = (description: string) => Type.String({ pattern: "^sha256:[0-9a-f]{64}$", description });
const anything = (description: string) => Type.Unsafe<object>({ type: "object", description });

const task = Type.Object(
  {
    task_id: Type.String(),
    type: Type.String({ description: "The operator's class." }),
    depends_on: Type.Array(Type.String(), { description: "Its direct upstream tasks." }),
    trigger_rule: Type.String(),
    is_mapped: Type.Boolean({ description: "Expanded at run time." }),
    retries: Type.Integer(),
    retry_delay_seconds: Type.Number(),
    execution_timeout_seconds: Type.Union([Type.Number(), Type.Null()]),
    env: Type.Record(Type.String(), Type.String()),
    resources: Type.Optional(anything("Kubernetes resources, from leoflow.yaml.")),
    execution: Type.Optional(anything("How the task's pod is made, from leoflow.yaml.")),
  },
  STRICT,
);

/**
 * dag.json: one version of one DAG as `leoflow compile` writes it. Keys are sorted; the same project gives the same bytes on
 * every machine and from every path.
 */
export const DAG_JSON_SCHEMA = Type.Object(
  {
    schema_version: Type.Literal("1.0"),
    dag_id: Type.String(),
    dag_version: Type.String({
      description: "Name of this version: --dag-version, else what git describes, else dev.",
    }),
    image: Type.Union([Type.String(), Type.Null()], { description: "Image that tasks run in where they are pods." }),
    description: Type.Union([Type.String(), Type.Null()]),
    owners: Type.Array(Type.String()),
    tags: Type.Array(Type.String()),
    schedule: Type.String({ description: "Summary of the timetable." }),
    max_active_runs: Type.Union([Type.Integer(), Type.Null()]),
    max_active_tasks: Type.Integer(),
    connections: Type.Array(Type.String()),
    variables: Type.Array(Type.String()),
    pools: Type.Array(Type.String()),
    dag_source: Type.String(),
    dependencies: Type.Array(Type.String(), { description: "Python requirements, connectors among them." }),
    python_version: Type.Optional(project.python_version),
    base_image: Type.Optional(project.base_image),
    system_packages: Type.Optional(project.system_packages),
    defaults: Type.Optional(anything("From leoflow.yaml.")),
    staging: Type.Optional(anything("From leoflow.yaml.")),
    tasks: Type.Array(task),
    files: Type.Array(
      Type.Object(
        { path: Type.String(), sha256: Type.String({ pattern: "^[0-9a-f]{64}$" }), executable: Type.Boolean() },
        STRICT,
      ),
      { description: "What is pushed." },
    ),
    files_hash: sha256("Of all files, by their paths."),
    serialized_dag: Type.Unsafe<unknown>({ type: "object", description: "Airflow's serialized DAG, format 3." }),
    content_hash: sha256("Of this document in its canonical form (sorted keys, no blanks) without this key."),
  },
  {
    ...STRICT,
    $schema: "http://json-schema.org/draft-07/schema#",
    $id: "https://raw.githubusercontent.com/leoflow/leoflow/main/schemas/dag.schema.json",
    title: "dag.json",
  },
);

export type DagJson = Static<typeof DAG_JSON_SCHEMA>;
