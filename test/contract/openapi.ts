import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { parse } from "yaml";
import { testPython } from "../support/python.ts";

export interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
  items?: Schema;
  prefixItems?: Schema[];
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  required?: string[];
  format?: string;
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  minItems?: number;
  maxItems?: number;
  default?: unknown;
}

export interface Parameter {
  name: string;
  in: "path" | "query" | "header";
  required?: boolean;
  schema: Schema;
}

type Content = Record<string, { schema: Schema }>;

interface Described {
  parameters?: Parameter[];
  requestBody?: { required?: boolean; content: Content };
  responses: Record<string, { content?: Content }>;
}

export interface OpenApi {
  paths: Record<string, Record<string, Described>>;
  components: { schemas: Record<string, Schema> };
}

export interface Operation {
  /** `GET /api/v2/dags/{dag_id}` */
  name: string;
  method: string;
  path: string;
  parameters: Parameter[];
  body: { required: boolean; schema: Schema } | null;
  statuses: number[];
  /** Follows `$ref`, if there is one. */
  resolve(schema: Schema): Schema;
  /** What is wrong with an answer of this status; empty for none. */
  faults(status: number, contentType: string, body: unknown): string[];
}

const api = "airflow/api_fastapi";
/** The documents that Airflow generates from its routes and ships in the wheel. */
const DOCUMENTS = {
  public: `${api}/core_api/openapi/v2-rest-api-generated.yaml`,
  ui: `${api}/core_api/openapi/_private_ui.yaml`,
  login: `${api}/auth/managers/simple/openapi/v2-simple-auth-manager-generated.yaml`,
};

export function readDocument(name: keyof typeof DOCUMENTS): OpenApi {
  return parse(readFileSync(join(sitePackages(), DOCUMENTS[name]), "utf8")) as OpenApi;
}

function sitePackages(): string {
  const lib = join(dirname(testPython()), "../lib");
  const [python = ""] = readdirSync(lib).filter((name) => name.startsWith("python3"));
  return join(lib, python, "site-packages");
}

/** Every operation of Airflow's REST API, of the UI's and of the login. */
export function readOperations(): Operation[] {
  return (["public", "ui", "login"] as const).flatMap((name) => operationsOf(readDocument(name)));
}

export function operationsOf(document: OpenApi): Operation[] {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats.default(ajv);
  const closed = structuredClone(document);
  for (const schema of Object.values(closed.components.schemas)) close(schema);
  ajv.addSchema(closed, "airflow");
  const resolve = (schema: Schema): Schema => {
    const name = schema.$ref?.replace("#/components/schemas/", "");
    return name === undefined ? schema : (document.components.schemas[name] as Schema);
  };
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, described]): Operation => {
      const { responses } = described;
      const validators = new Map<string, ValidateFunction>();
      const validator = (status: number): ValidateFunction => {
        const pointer = ["paths", path, method, "responses", String(status), "content", "application/json", "schema"];
        const $ref = `airflow#/${pointer.map((part) => encodeURIComponent(part.replaceAll("/", "~1"))).join("/")}`;
        const made = validators.get($ref) ?? ajv.compile({ $ref });
        validators.set($ref, made);
        return made;
      };
      const json = described.requestBody?.content["application/json"];
      return {
        name: `${method.toUpperCase()} ${path}`,
        method: method.toUpperCase(),
        path,
        parameters: described.parameters ?? [],
        body: json ? { required: described.requestBody?.required ?? false, schema: json.schema } : null,
        statuses: Object.keys(responses).map(Number),
        resolve,
        faults(status, contentType, body) {
          const response = responses[String(status)];
          if (!response) return [`status ${status} is not documented`];
          const types = Object.keys(response.content ?? {});
          if (types.length === 0) return body === "" || status === 307 ? [] : [`a body where none is documented`];
          const type = contentType.split(";", 1)[0] ?? "";
          if (!types.includes(type)) return [`content type ${type} is not one of ${types.join(", ")}`];
          if (type !== "application/json" || !response.content?.[type]?.schema) return [];
          const check = validator(status);
          if (check(body)) return [];
          return (check.errors ?? []).map(
            ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
          );
        },
      };
    }),
  );
}

/** Pydantic never answers with a field that its model does not have. */
function close(schema: Schema): void {
  if (schema.properties && schema.additionalProperties === undefined) schema.additionalProperties = false;
}
