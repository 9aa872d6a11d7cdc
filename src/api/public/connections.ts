import type { FastifyRequest } from "fastify";
import { Type, type Static } from "typebox";
import { isWithinTeams } from "../../domain/team.ts";
import { mayDo } from "../../domain/user.ts";
import { formatInstant } from "../../kit/instant.ts";
import {
  CONNECTION_SORTABLE,
  createConnection,
  deleteConnections,
  findConnections,
  listConnections,
  updateConnection,
  type ConnectionColumns,
  type ConnectionRow,
} from "../../store/connections.ts";
import { unknownTeams } from "../../store/teams.ts";
import { audited } from "../audit.ts";
import { teamsOf, userOf, type ApiContext, type TypedApp } from "../context.ts";
import { ApiError, badRequest, conflict, notFound, uniqueConflict, unprocessable } from "../errors.ts";
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
import {
  checkExtra,
  openSecrets,
  toColumns,
  toConnectionResponse,
  type ConnectionFields,
} from "./connection-secrets.ts";
import { ConnectionTests, runConnectionTest } from "./connection-tests.ts";
import { DEFAULT_CONNECTIONS } from "./default-connections.ts";
import { refuseTeam } from "./variables.ts";

const idParams = Type.Object({ connection_id: Type.String() });
const text = Type.Optional(nullable(Type.String()));
const fields = {
  connection_id: Type.String({ maxLength: 200, pattern: "^[\\p{L}\\p{N}_.-]+$" }),
  conn_type: Type.String(),
  description: text,
  host: text,
  login: text,
  schema: text,
  port: Type.Optional(nullable(Type.Integer())),
  password: text,
  extra: text,
  team_name: Type.Optional(nullable(Type.String({ maxLength: 50 }))),
};
const connection = strictObject(fields);
type ConnectionBody = Static<typeof connection>;
const testBody = strictObject({
  ...fields,
  commit_on_success: Type.Boolean({ default: false }),
  executor: text,
  queue: text,
});
const bulk = bulkBody(connection);
const listQuery = Type.Object({ ...pageQuery, ...orderByQuery, ...patternQuery("connection_id") });

/** `/connections`. Whoever reads them sees no secret; still they are for operators only. */
export function connectionRoutes(app: TypedApp, context: ApiContext): void {
  const { db, secrets } = context;
  const op = { role: "OP" as const };
  const toResponse = (row: ConnectionRow) => toConnectionResponse(secrets, row);

  app.get("/connections", { schema: { querystring: listQuery }, config: op }, async (request) => {
    const { query } = request;
    const orders = orderOf(query.order_by, {
      allowed: Object.keys(CONNECTION_SORTABLE),
      primaryKey: "id",
      aliases: { connection_id: "conn_id" },
    });
    const found = await listConnections(
      db,
      { connId: patternsOf(query, "connection_id"), teams: teamsOf(request) },
      { orders, page: pageOf(query) },
    );
    return { connections: found.rows.map(toResponse), total_entries: found.total };
  });

  app.get("/connections/:connection_id", { schema: { params: idParams }, config: op }, async ({ params }) =>
    toResponse(await require(params.connection_id)),
  );

  app.post(
    "/connections",
    { schema: { body: connection }, config: op, preValidation: audited(db, "post_connection") },
    async ({ body }, reply) => {
      const given = checked(context, body, ["body"]);
      const row = await createConnection(db, body.connection_id, newColumns(given));
      if (!row) {
        throw uniqueConflict(`The Connection with connection_id: \`${body.connection_id}\` already exists`);
      }
      return reply.code(201).send(toResponse(row));
    },
  );

  app.patch(
    "/connections/:connection_id",
    {
      schema: { params: idParams, querystring: Type.Object(updateMaskQuery), body: connection },
      config: op,
      preValidation: audited(db, "patch_connection"),
    },
    async ({ params, query, body }) => {
      const connId = params.connection_id;
      if (body.connection_id !== connId) {
        throw badRequest("The connection_id in the request body does not match the URL parameter");
      }
      const given = checked(context, body, ["body"]);
      return toResponse(await change(await require(connId), masked(given, query.update_mask)));
    },
  );

  app.delete(
    "/connections/:connection_id",
    { schema: { params: idParams }, config: op, preValidation: audited(db, "delete_connection") },
    async ({ params }, reply) => {
      const connId = params.connection_id;
      if ((await deleteConnections(db, [connId])).length === 0) throw missing(connId);
      return reply.code(204).send();
    },
  );

  app.patch(
    "/connections",
    { schema: { body: bulk }, config: op, preValidation: audited(db, "bulk_connections") },
    async ({ body }) => {
      const given = new Map<ConnectionBody, ConnectionFields>();
      body.actions.forEach((action, at) =>
        action.entities.forEach((entity, index) => {
          if (typeof entity === "string") return;
          given.set(entity, checked(context, entity, ["body", "actions", at, action.action, "entities", index]));
        }),
      );
      const fieldsOf = (entity: ConnectionBody): ConnectionFields => given.get(entity) ?? {};
      const existing = async (connIds: readonly string[]) =>
        new Map((await findConnections(db, connIds)).map((row) => [row.conn_id, row]));
      return await runBulk<typeof connection>(body.actions, {
        create: async (action, outcome) => {
          const present = await existing(action.entities.map((entity) => entity.connection_id));
          if (action.action_on_existence === "fail" && present.size > 0) {
            throw conflict(`The connections with these connection_ids: ${pythonSet(present.keys())} already exist.`);
          }
          for (const entity of action.entities) {
            const { connection_id: connId } = entity;
            const exists = present.has(connId);
            if (exists && action.action_on_existence === "skip") continue;
            // An overwrite takes secrets as they come, and leaves alone what the body does not say.
            if (exists) await updateConnection(db, connId, toColumns(secrets, fieldsOf(entity)));
            else await createConnection(db, connId, newColumns(fieldsOf(entity)));
            outcome.success.push(connId);
          }
        },
        update: async (action, outcome) => {
          const connIds = action.entities.map((entity) => entity.connection_id);
          const present = await existing(connIds);
          requireAll(connIds, present, action.action_on_non_existence);
          for (const entity of action.entities) {
            const row = present.get(entity.connection_id);
            if (!row) continue;
            await change(row, masked(fieldsOf(entity), action.update_mask ?? undefined));
            outcome.success.push(entity.connection_id);
          }
        },
        delete: async (action, outcome) => {
          const connIds = action.entities.map((entity) => (typeof entity === "string" ? entity : entity.connection_id));
          requireAll(connIds, await existing(connIds), action.action_on_non_existence);
          outcome.success.push(...(await deleteConnections(db, connIds)));
        },
      });
    },
  );

  app.post("/connections/test", { schema: { body: connection }, config: op }, async (request) => {
    return await runConnectionTest(context, await toTest(request, request.body));
  });

  const tests = new ConnectionTests(context);
  app.post(
    "/connections/enqueue-test",
    {
      schema: { body: testBody },
      config: { role: "VIEWER" },
      preValidation: audited(db, "enqueue_connection_test"),
    },
    async (request, reply) => {
      const { body } = request;
      if (!mayDo(userOf(request).role, "OP")) {
        throw new ApiError(403, `You are not authorized to test connection \`${body.connection_id}\`.`);
      }
      const team = await teamOfTest(request, body);
      const given = checked(context, body, ["body"]);
      const save = async (): Promise<void> => {
        if (!body.commit_on_success) return;
        const made = await createConnection(db, body.connection_id, newColumns(given));
        if (!made) await change(await require(body.connection_id), given);
      };
      const test = tests.enqueue(body.connection_id, given, team, save);
      if (!test) {
        throw conflict(`An active connection test already exists for connection_id \`${body.connection_id}\`.`);
      }
      const { token, connection_id, state } = test;
      return reply.code(202).send({ token, connection_id, state });
    },
  );
  app.get("/connections/enqueue-test", async (request) => {
    const token = request.headers["airflow-connection-test-token"];
    if (typeof token !== "string") {
      const loc = ["header", "Airflow-Connection-Test-Token"];
      throw unprocessable([{ type: "missing", loc, msg: "Field required", input: null }]);
    }
    const test = mayDo(userOf(request).role, "OP") ? tests.find(token) : undefined;
    if (!test || !isWithinTeams(test.team, teamsOf(request)))
      throw notFound(`No connection test found for token: \`${token}\``);
    const { team: _team, ...shown } = test;
    return { ...shown, created_at: formatInstant(shown.created_at) };
  });

  app.post(
    "/connections/defaults",
    { config: op, preValidation: audited(db, "create_default_connections") },
    async (_request, reply) => {
      for (const { conn_id, ...rest } of DEFAULT_CONNECTIONS) await createConnection(db, conn_id, newColumns(rest));
      return reply.code(204).send();
    },
  );

  async function require(connId: string): Promise<ConnectionRow> {
    const [row] = await findConnections(db, [connId]);
    if (!row) throw missing(connId);
    return row;
  }

  /** The team that a test is for, and its answer. Refuses other teams', as Airflow's `enqueue_connection_test`. */
  async function teamOfTest(request: FastifyRequest, body: ConnectionBody): Promise<string | null> {
    if (!context.multiTeam) return null;
    const { connection_id: connId, team_name: asked = null } = body;
    const [stored] = await findConnections(db, [connId]);
    if (stored && asked !== null && asked !== stored.team_name) {
      throw new ApiError(403, `team_name \`${asked}\` does not match the team of connection \`${connId}\`.`);
    }
    const team = stored ? stored.team_name : asked;
    if (!isWithinTeams(team, teamsOf(request))) {
      throw new ApiError(403, `You are not authorized to test connection \`${connId}\`.`);
    }
    const [unknown] = team === null ? [] : await unknownTeams(db, [team]);
    if (unknown !== undefined) throw badRequest(`Team '${unknown}' does not exist`);
    return team;
  }

  async function change(row: ConnectionRow, given: ConnectionFields): Promise<ConnectionRow> {
    const columns = toColumns(secrets, given, openSecrets(secrets, row));
    const changed = await updateConnection(db, row.conn_id, columns);
    if (!changed) throw missing(row.conn_id);
    return changed;
  }

  function newColumns(given: ConnectionFields): ConnectionColumns {
    const empty = { description: null, host: null, login: null, schema: null, port: null, password: null, extra: null };
    const columns = toColumns(secrets, { ...empty, conn_type: "", ...given });
    return columns as ConnectionColumns;
  }

  /** What a test connects with: stored secrets stand in for masked ones, but only towards where they belong. */
  async function toTest(request: FastifyRequest, body: ConnectionBody): Promise<ConnectionFields> {
    const given = checked(context, body, ["body"]);
    const [stored] = await findConnections(db, [body.connection_id]);
    // Of another team's connection nothing is told, not even that there is one.
    if (!stored || !isWithinTeams(stored.team_name, teamsOf(request))) return given;
    const moved =
      ("host" in given && (given.host || null) !== (stored.host || null)) ||
      // The UI's button says 0 of a connection without a port.
      ("port" in given && (given.port || null) !== (stored.port || null));
    if (moved) {
      if (given.password && given.password !== "***") return given;
      throw badRequest(
        "The host or port to test differs from the stored connection. " +
          "Include the credentials to test in the request body.",
      );
    }
    const before = openSecrets(secrets, stored);
    const merged = toColumns(secrets, given, before);
    const open = openSecrets(secrets, { ...stored, ...merged });
    const { conn_type, host, login, schema, port } = { ...stored, ...given };
    return { conn_type, host, login, schema, port, ...open };
  }
}

const missing = (connId: string) => notFound(`The Connection with connection_id: \`${connId}\` was not found`);

/** The fields a body gives, checked as Airflow does beyond their types. */
function checked(context: ApiContext, body: ConnectionBody, loc: (string | number)[]): ConnectionFields {
  refuseTeam(context, body, loc);
  const { conn_type, description, host, login, schema, port, password, team_name } = body;
  const given: ConnectionFields = { conn_type, description, host, login, schema, port, password, team_name };
  for (const name of ["description", "host", "login", "schema", "port", "password", "team_name"] as const) {
    if (!(name in body)) delete given[name];
  }
  if (!("extra" in body)) return given;
  if (body.extra == null) return { ...given, extra: null };
  const extra = checkExtra(body.extra);
  if ("problem" in extra) throw valueError([...loc, "extra"], extra.problem, body.extra);
  return { ...given, ...extra };
}

function requireAll(
  connIds: readonly string[],
  present: ReadonlyMap<string, unknown>,
  onMissing: "fail" | "skip",
): void {
  const absent = connIds.filter((connId) => !present.has(connId));
  if (onMissing === "skip" || absent.length === 0) return;
  throw notFound(`The connections with these connection_ids: ${pythonSet(absent)} were not found.`);
}
