/** A dag_id that leoflow.yaml and `leoflow init` take; without the typebox that project-schema.ts needs. */
export const DAG_ID_PATTERN = "^[a-zA-Z0-9_][a-zA-Z0-9_-]{0,199}$";

/** Where editors find the schema of leoflow.yaml. */
export const PROJECT_SCHEMA_URL = "https://raw.githubusercontent.com/leoflow/leoflow/main/schemas/leoflow.schema.json";
