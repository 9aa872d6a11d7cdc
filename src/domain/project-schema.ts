import { Type, type Static } from "typebox";
import { DAG_ID_PATTERN, PROJECT_SCHEMA_URL } from "./project-names.ts";

/** Python versions a project can ask for; Airflow 3.3 runs on each. */
export const PYTHON_VERSIONS = ["3.10", "3.11", "3.12", "3.13"] as const;
export const TAG_STRATEGIES = ["version", "git_sha", "git_tag", "custom"] as const;

const STRICT = { additionalProperties: false } as const;
const oneOf = <const T extends string>(values: readonly T[], description: string, more: object = {}) =>
  Type.Unsafe<T>({ type: "string", enum: [...values], description, ...more });
const text = (description: string, more: object = {}) => Type.String({ description, minLength: 1, ...more });
const count = (description: string, minimum: number, maximum: number, more: object = {}) =>
  Type.Integer({ description, minimum, maximum, ...more });
/** `patternErrorMessage` is what editors with the YAML language server show, and what we say. */
const shaped = (pattern: string, patternErrorMessage: string, description: string, more: object = {}) =>
  Type.String({ pattern, patternErrorMessage, description, ...more });
const listOf = <T extends ReturnType<typeof Type.Unsafe> | ReturnType<typeof Type.String>>(
  item: T,
  description: string,
  more: object = {},
) => Type.Array(item, { description, ...more });
/** A map of names to values that are taken as they are written. */
const texts = (description: string, name = "^.+$") =>
  Type.Unsafe<Record<string, string>>({
    type: "object",
    patternProperties: { [name]: { type: ["string", "number", "boolean"] } },
    additionalProperties: false,
    description,
  });

const INSIDE = "^(?!/)(?!.*(^|/)\\.\\.(/|$)).+$";
const CPU = "^\\d+(\\.\\d+)?m?$";
const MEMORY = "^\\d+(\\.\\d+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$";
const REQUIREMENT =
  "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\\s*(\\[[A-Za-z0-9._,\\s-]*\\])?\\s*" +
  "(@\\s*(https?|git\\+https|git\\+ssh)://\\S+|\\(?\\s*((===?|~=|!=|<=?|>=?)\\s*[A-Za-z0-9.*+!_-]+\\s*,?\\s*)*\\)?)\\s*(;.+)?$";

/** A Kubernetes quantity; a number will do as well. */
const quantity = (pattern: string, patternErrorMessage: string, description: string, more: object = {}) =>
  Type.Unsafe<string>({ type: ["string", "number"], pattern, patternErrorMessage, description, ...more });

const path = (description: string, more: object = {}) =>
  shaped(INSIDE, "must be a path inside the project", description, more);
const id = (description: string) => shaped("^[^\\s,]+$", "must be an id without blanks", description);

const quantities = {
  cpu: Type.Optional(quantity(CPU, 'must be an amount of CPUs such as "500m" or "2"', "CPUs.", { examples: ["500m"] })),
  memory: Type.Optional(
    quantity(MEMORY, 'must be an amount of memory such as "512Mi" or "2Gi"', "Memory.", { examples: ["512Mi"] }),
  ),
  ephemeral_storage: Type.Optional(
    quantity(MEMORY, 'must be an amount of storage such as "1Gi"', "Disk space of the task's container."),
  ),
};
const requestsAndLimits = {
  requests: Type.Optional(Type.Object(quantities, { ...STRICT, description: "What a task is promised." })),
  limits: Type.Optional(Type.Object(quantities, { ...STRICT, description: "What a task may use at most." })),
};
const nodeSelector = Type.Optional(texts("Labels of the Kubernetes nodes that tasks may run on."));

const attempts = {
  retries: Type.Optional(count("How often a failed task is tried again.", 0, 100)),
  retry_delay_seconds: Type.Optional(count("Seconds between two tries.", 0, 31_536_000)),
  execution_timeout_seconds: Type.Optional(count("Seconds after which a try is ended as failed.", 1, 31_536_000)),
};

const names = (what: string) =>
  Type.Optional(
    listOf(id(`Id of one of the ${what}.`), `The ${what} that are needed; those that do not exist are named.`),
  );

const task = Type.Object(
  {
    ...attempts,
    env: Type.Optional(
      texts("Environment variables of this task alone, as they are written.", "^[A-Za-z_][A-Za-z0-9_]*$"),
    ),
    connections: names("connections"),
    variables: names("variables"),
    resources: Type.Optional(Type.Object(requestsAndLimits, { ...STRICT, description: "Kubernetes resources." })),
    execution: Type.Optional(
      Type.Object(
        {
          node_selector: nodeSelector,
          tolerations: Type.Optional(
            Type.Array(
              Type.Object(
                {
                  key: Type.Optional(text("Key of the taint.")),
                  operator: Type.Optional(oneOf(["Exists", "Equal"], "How key and value are compared.")),
                  value: Type.Optional(Type.String({ description: "Value of the taint." })),
                  effect: Type.Optional(
                    oneOf(["NoSchedule", "PreferNoSchedule", "NoExecute"], "Which effect is tolerated."),
                  ),
                  tolerationSeconds: Type.Optional(count("For how many seconds.", 0, 31_536_000)),
                },
                STRICT,
              ),
              { description: "Taints that the task's pod tolerates." },
            ),
          ),
          service_account: Type.Optional(text("Kubernetes service account of the task's pod.")),
          image_pull_policy: Type.Optional(
            oneOf(["Always", "IfNotPresent", "Never"], "When the task's image is pulled."),
          ),
        },
        { ...STRICT, description: "How the task's pod is made." },
      ),
    ),
  },
  { ...STRICT, description: "Goes before what dag.py says of this task." },
);

/**
 * leoflow.yaml: the one source of its checks, its JSON Schema (schemas/leoflow.schema.json) and its reference in
 * docs/authoring.md.
 */
export const PROJECT_SCHEMA = Type.Object(
  {
    schema_version: Type.Optional(oneOf(["1.0", "1"], "Version of this file's format.")),
    dag_id: Type.Optional(
      shaped(
        DAG_ID_PATTERN,
        "must start with a letter, a digit or _ and hold no others but - (200 characters at most)",
        "Which DAG of dag_source this file is about. Needed where there are several.",
      ),
    ),
    description: Type.Optional(text("Description of the DAG; goes before dag.py.")),
    owner: Type.Optional(text("Owner of the tasks that name none; goes before default_args.")),
    tags: Type.Optional(listOf(text("A tag.", { maxLength: 100 }), "Tags of the DAG, beside those in dag.py.")),
    schedule: Type.Optional(
      Type.Unsafe<string | null>({
        type: ["string", "null"],
        description:
          "Cron expression of five fields, @hourly and its like, @once, @continuous, or null; goes before dag.py.",
      }),
    ),
    schedule_timezone: Type.Optional(text("Time zone of the cron expression.", { examples: ["Europe/Berlin"] })),
    max_active_runs: Type.Optional(count("Runs of the DAG at a time; goes before dag.py.", 1, 100_000)),
    max_active_tasks: Type.Optional(count("Tasks of the DAG at a time; goes before dag.py.", 1, 100_000)),
    python_version: Type.Optional(oneOf(PYTHON_VERSIONS, "Python of the image that `leoflow build` makes.")),
    base_image: Type.Optional(text("Image that `leoflow build` starts from, instead of python:<version>-slim.")),
    dependencies: Type.Optional(
      listOf(
        shaped(
          REQUIREMENT,
          'must be a requirement such as "pandas==2.2.3"; options and paths are not taken',
          "A requirement.",
        ),
        "Python packages, as pip takes them. The project gets an environment with them.",
      ),
    ),
    connectors: Type.Optional(
      listOf(
        shaped("^[A-Za-z][A-Za-z0-9._-]*$", 'must be the name of a provider such as "postgres"', "Name of a provider."),
        "Airflow providers by their short names: postgres is apache-airflow-providers-postgres.",
      ),
    ),
    system_packages: Type.Optional(
      listOf(
        shaped("^[a-z0-9][a-z0-9.+-]+$", "must be the name of a Debian package", "A Debian package."),
        "Debian packages for the image that `leoflow build` makes.",
      ),
    ),
    dag_source: Type.Optional(
      shaped("^(?!/)(?!.*(^|/)\\.\\.(/|$)).+\\.py$", "must be a .py file inside the project", "The DAG's file.", {
        default: "dag.py",
      }),
    ),
    include_paths: Type.Optional(
      listOf(path("A folder, a file, or a pattern with * and **."), "What `compile`, `push` and `build` pack.", {
        default: ["."],
      }),
    ),
    exclude_paths: Type.Optional(
      listOf(
        path("A name, or a pattern with * and **."),
        "What they leave out, beside .git, __pycache__, *.pyc, .venv and venv.",
        { default: [".git", "__pycache__", "*.pyc", ".venv", "venv"] },
      ),
    ),
    connections: names("connections"),
    variables: names("variables"),
    pools: names("pools"),
    defaults: Type.Optional(
      Type.Object(
        {
          ...attempts,
          resources: Type.Optional(
            Type.Object({ ...quantities, ...requestsAndLimits }, { ...STRICT, description: "Kubernetes resources." }),
          ),
          node_selector: nodeSelector,
        },
        { ...STRICT, description: "For tasks whose code says nothing of it." },
      ),
    ),
    tasks: Type.Optional(
      Type.Unsafe<Record<string, Static<typeof task>>>({
        type: "object",
        patternProperties: { "^[A-Za-z0-9_.-]+$": task },
        additionalProperties: false,
        description: "Settings of single tasks, by task_id; go before dag.py.",
      }),
    ),
    build: Type.Optional(
      Type.Object(
        {
          dockerfile: Type.Optional(path("A Containerfile of your own, instead of the generated one.")),
          context: Type.Optional(path("Folder below the project that the image is built from.", { default: "." })),
          platforms: Type.Optional(
            listOf(
              shaped("^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$", 'must be a platform such as "linux/amd64"', "A platform."),
              "Platforms of the image.",
              { default: ["linux/amd64"] },
            ),
          ),
          labels: Type.Optional(texts("Labels of the image.")),
        },
        { ...STRICT, description: "How `leoflow build` makes the image." },
      ),
    ),
    registry: Type.Optional(
      Type.Object(
        {
          url: Type.Optional(text("Where images go.", { examples: ["ghcr.io/acme"] })),
          auth_method: Type.Optional(oneOf(["docker_config", "env", "iam"], "How one signs in there.")),
          image_name: Type.Optional(text("Name of the image; the dag_id without it.")),
          tag_strategy: Type.Optional(
            oneOf(TAG_STRATEGIES, "Tag of the image: the DAG's version, git's commit or tag, or what --tag says.", {
              default: "version",
            }),
          ),
        },
        { ...STRICT, description: "The image's name where --image gives none." },
      ),
    ),
    staging: Type.Optional(
      Type.Object(
        {
          enabled: Type.Optional(Type.Boolean({ description: "Give each run a volume of its own.", default: false })),
          size: Type.Optional(quantity(MEMORY, 'must be a size such as "1Gi"', "Size of the volume.")),
          storage_class: Type.Optional(text("Kubernetes storage class of the volume.")),
        },
        { ...STRICT, description: "A volume that the tasks of one run share." },
      ),
    ),
  },
  {
    ...STRICT,
    $schema: "http://json-schema.org/draft-07/schema#",
    $id: PROJECT_SCHEMA_URL,
    title: "leoflow.yaml",
    description: "A Leoflow project: settings beside its dag.py.",
  },
);

export type ProjectSettings = Static<typeof PROJECT_SCHEMA>;

/** Keys of the public project that are refused rather than ignored, with the way out. */
export const REFUSED_KEYS: Readonly<Record<string, string>> = {
  alerts: "use on_failure_callback in dag.py",
  dbt: "run dbt with a BashOperator in dag.py",
  dbt_groups: "run dbt with a BashOperator in dag.py",
};

/** What has an effect only where tasks are pods, or in an image. Without one in Lite. */
export const PRO_KEYS: ReadonlySet<string> = new Set([
  ...["python_version", "base_image", "system_packages", "build", "registry", "staging"],
  ...["resources", "execution", "node_selector"],
]);
