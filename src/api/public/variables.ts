import { Type, type Static } from "typebox";
import type { FastifyRequest } from "fastify";
import { ExactObject, parseExact, pythonDumps, type ExactJson } from "../../kit/exact-json.ts";
import {
  createVariable,
  deleteVariables,
  findVariables,
  listVariables,
  updateVariable,
  VARIABLE_SORTABLE,
  type VariableRow,
} from "../../store/variables.ts";
import { audited } from "../audit.ts";
import { bodyText } from "../body.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { badRequest, conflict, notFound } from "../errors.ts";
import {
  masked,
  orderByQuery,
  orderOf,
  pageOf,
  pageQuery,
  patternQuery,
  patternsOf,
  updateMaskQuery,
} from "../query.ts";
import { nullable, strictObject, valueError } from "../schema.ts";
import { bulkBody, pythonSet, runBulk } from "./bulk.ts";
import { redactText } from "../secrets.ts";

const keyParams = Type.Object({ "*": Type.String() });
const variable = strictObject({
  key: Type.String({ maxLength: 250 }),
  value: Type.Unknown(),
  description: Type.Optional(nullable(Type.String())),
  team_name: Type.Optional(nullable(Type.String({ maxLength: 50 }))),
});
type Variable = Static<typeof variable>;
const bulk = bulkBody(variable);
const listQuery = Type.Object({ ...pageQuery, ...orderByQuery, ...patternQuery("variable_key") });

const NO_TEAMS = "team_name cannot be set when multi_team mode is disabled. Please contact your administrator.";

/** `/variables`. Keys may hold slashes. */
export function variableRoutes(app: TypedApp, context: ApiContext): void {
  const { db, secrets } = context;
  const op = { role: "OP" as const };

  const toResponse = (row: VariableRow) => {
    const value = plainValue(row);
    return {
      key: row.key,
      value: value === null ? null : redactText(value, row.key),
      description: row.description,
      is_encrypted: row.is_encrypted,
      team_name: row.team_name,
    };
  };
  /** null when it was encrypted with another key: the rest of the variable can still be shown, and the value replaced. */
  const plainValue = (row: VariableRow): string | null => {
    try {
      return row.is_encrypted ? secrets.decrypt(row.val) : row.val;
    } catch {
      return null;
    }
  };

  app.get("/variables", { schema: { querystring: listQuery }, config: op }, async (request) => {
    const { query } = request;
    const orders = orderOf(query.order_by, { allowed: Object.keys(VARIABLE_SORTABLE), primaryKey: "id" });
    const filter = { key: patternsOf(query, "variable_key"), teams: teamsOf(request) };
    const found = await listVariables(db, filter, { orders, page: pageOf(query) });
    return { variables: found.rows.map(toResponse), total_entries: found.total };
  });

  app.get("/variables/*", { schema: { params: keyParams }, config: op }, async ({ params }) => {
    const [row] = await findVariables(db, [params["*"]]);
    if (!row) throw missing(params["*"]);
    return toResponse(row);
  });

  app.post(
    "/variables",
    { schema: { body: variable }, config: op, preValidation: audited(db, "post_variable") },
    async (request, reply) => {
      const { body } = request;
      refuseTeam(context, body);
      const val = secrets.encrypt(storedText(body.value, exactBody(request)));
      const { key, description = null, team_name = null } = body;
      const row = await createVariable(db, { key, val, description, team_name });
      if (!row) throw conflict(`The Variable with key: \`${body.key}\` already exists`);
      return reply.code(201).send(toResponse(row));
    },
  );

  app.patch(
    "/variables/*",
    {
      schema: { params: keyParams, querystring: Type.Object(updateMaskQuery), body: variable },
      config: op,
      preValidation: audited(db, "patch_variable"),
    },
    async (request) => {
      const { params, query, body } = request;
      const key = params["*"];
      if (body.key !== key) throw badRequest("Invalid body, key from request body doesn't match uri parameter");
      refuseTeam(context, body);
      refuseKeyInMask(query.update_mask);
      const fields = fieldsOf(masked(body, query.update_mask), exactBody(request));
      const row = await updateVariable(db, key, fields);
      if (!row) throw missing(key);
      return toResponse(row);
    },
  );

  app.delete(
    "/variables/*",
    { schema: { params: keyParams }, config: op, preValidation: audited(db, "delete_variable") },
    async ({ params }, reply) => {
      if ((await deleteVariables(db, [params["*"]])).length === 0) throw missing(params["*"]);
      return reply.code(204).send();
    },
  );

  app.patch(
    "/variables",
    { schema: { body: bulk }, config: op, preValidation: audited(db, "bulk_variables") },
    async (request) => {
      const exact = exactBody(request);
      const exactOf = new Map<Variable, ExactJson | undefined>();
      request.body.actions.forEach((action, at) =>
        action.entities.forEach((entity, index) => {
          if (typeof entity === "string") return;
          refuseTeam(context, entity);
          exactOf.set(entity, valueAt(exact, "actions", at, "entities", index));
        }),
      );
      const existing = async (keys: readonly string[]) =>
        new Set((await findVariables(db, keys)).map((row) => row.key));
      return await runBulk<typeof variable>(request.body.actions, {
        create: async (action, outcome) => {
          const keys = action.entities.map(({ key }) => key);
          const present = await existing(keys);
          if (action.action_on_existence === "fail" && present.size > 0) {
            throw conflict(`The variables with these keys: ${pythonSet(present)} already exist.`);
          }
          for (const entity of action.entities) {
            if (action.action_on_existence === "skip" && present.has(entity.key)) continue;
            const val = secrets.encrypt(storedText(entity.value, exactOf.get(entity)));
            const { key, description = null, team_name = null } = entity;
            const made = await createVariable(db, { key, val, description, team_name });
            // An overwrite gives a team only where it names one.
            const team = "team_name" in entity ? { team_name } : {};
            if (!made) await updateVariable(db, key, { val, description, ...team });
            outcome.success.push(entity.key);
          }
        },
        update: async (action, outcome) => {
          const keys = action.entities.map(({ key }) => key);
          const present = await existing(keys);
          requireAll(keys, present, action.action_on_non_existence);
          refuseKeyInMask(action.update_mask ?? undefined);
          for (const entity of action.entities) {
            if (!present.has(entity.key)) continue;
            const fields = fieldsOf(masked(entity, action.update_mask ?? undefined), exactOf.get(entity));
            await updateVariable(db, entity.key, fields);
            outcome.success.push(entity.key);
          }
        },
        delete: async (action, outcome) => {
          const keys = action.entities.map((entity) => (typeof entity === "string" ? entity : entity.key));
          requireAll(keys, await existing(keys), action.action_on_non_existence);
          outcome.success.push(...(await deleteVariables(db, keys)));
        },
      });
    },
  );

  function fieldsOf(given: Partial<Variable>, exact: ExactJson | undefined) {
    return {
      ...("value" in given ? { val: secrets.encrypt(storedText(given.value, exact)) } : {}),
      ...("description" in given ? { description: given.description ?? null } : {}),
      ...("team_name" in given ? { team_name: given.team_name ?? null } : {}),
    };
  }
}

const missing = (key: string) => notFound(`The Variable with key: \`${key}\` was not found`);

function requireAll(keys: readonly string[], present: ReadonlySet<string>, onMissing: "fail" | "skip"): void {
  const absent = keys.filter((key) => !present.has(key));
  if (onMissing === "skip" || absent.length === 0) return;
  throw notFound(`The variables with these keys: ${pythonSet(absent)} were not found.`);
}

/** Nothing is given to a team outside multi-team mode; `loc` is where the body lies. */
export function refuseTeam(
  { multiTeam = false }: ApiContext,
  body: { team_name?: string | null | undefined },
  loc: (string | number)[] = ["body"],
): void {
  if (!multiTeam && body.team_name != null) throw valueError(loc, NO_TEAMS, body);
}

function refuseKeyInMask(mask: readonly string[] | undefined): void {
  if (!mask?.includes("key")) return;
  throw badRequest("Update not allowed: the following fields are immutable and cannot be modified: {'key'}");
}

/** Variables are texts: anything else is stored as the JSON Python would write, with numbers as the client wrote them. */
function storedText(value: unknown, exactEntity: ExactJson | undefined): string {
  if (typeof value === "string") return value;
  const exact = valueAt(exactEntity, "value") ?? parseExact(JSON.stringify(value));
  return pythonDumps(exact, { indent: 2 });
}

function exactBody(request: FastifyRequest): ExactJson | undefined {
  const text = bodyText(request);
  return text === "" ? undefined : parseExact(text);
}

function valueAt(value: ExactJson | undefined, ...path: (string | number)[]): ExactJson | undefined {
  let here = value;
  for (const step of path) {
    if (here instanceof ExactObject) here = here.entries.get(String(step));
    else if (Array.isArray(here)) here = here[Number(step)];
    else return undefined;
  }
  return here;
}
