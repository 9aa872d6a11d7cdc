import { Type, type Static } from "typebox";
import {
  createPool,
  DEFAULT_POOL,
  deletePools,
  findPools,
  listPools,
  POOL_SORTABLE,
  updatePool,
  type PoolFields,
  type PoolRow,
} from "../../store/pools.ts";
import { audited } from "../audit.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { badRequest, conflict, notFound, uniqueConflict, unprocessable } from "../errors.ts";
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
import { nullable, strictObject } from "../schema.ts";
import { bulkBody, pythonSet, runBulk } from "./bulk.ts";
import { refuseTeam } from "./variables.ts";

const nameParams = Type.Object({ "*": Type.String() });
const slots = Type.Integer({ minimum: -1 });
const team = Type.Optional(nullable(Type.String({ maxLength: 50 })));
const pool = strictObject({
  name: Type.String({ maxLength: 256 }),
  slots,
  description: Type.Optional(nullable(Type.String())),
  include_deferred: Type.Optional(Type.Boolean()),
  team_name: team,
});
type Pool = Static<typeof pool>;
const patchBody = strictObject({
  pool: Type.Optional(nullable(Type.String())),
  slots: Type.Optional(nullable(slots)),
  description: Type.Optional(nullable(Type.String())),
  include_deferred: Type.Optional(nullable(Type.Boolean())),
  team_name: team,
});
type PatchBody = Static<typeof patchBody>;
const bulk = bulkBody(pool);
const listQuery = Type.Object({ ...pageQuery, ...orderByQuery, ...patternQuery("pool_name") });

/** `/pools`. Names may hold slashes. */
export function poolRoutes(app: TypedApp, context: ApiContext): void {
  const { db, bus } = context;
  const op = { role: "OP" as const };
  const changed = (): void => bus.publish({ kind: "pool" });

  app.get("/pools", { schema: { querystring: listQuery } }, async (request) => {
    const { query } = request;
    const orders = orderOf(query.order_by, {
      allowed: Object.keys(POOL_SORTABLE),
      primaryKey: "id",
      aliases: { name: "pool" },
    });
    const found = await listPools(
      db,
      { name: patternsOf(query, "pool_name"), teams: teamsOf(request) },
      { orders, page: pageOf(query) },
    );
    return { pools: found.rows.map(toResponse), total_entries: found.total };
  });

  app.get("/pools/*", { schema: { params: nameParams } }, async ({ params }) => toResponse(await require(params["*"])));

  app.post(
    "/pools",
    { schema: { body: pool }, config: op, preValidation: audited(db, "post_pool") },
    async ({ body }, reply) => {
      refuseTeam(context, body);
      if (!(await createPool(db, body.name, newFields(body)))) {
        throw uniqueConflict(`The Pool with name: \`${body.name}\` already exists`);
      }
      changed();
      return reply.code(201).send(toResponse(await require(body.name)));
    },
  );

  app.patch(
    "/pools/*",
    {
      schema: { params: nameParams, querystring: Type.Object(updateMaskQuery), body: patchBody },
      config: op,
      preValidation: audited(db, "patch_pool"),
    },
    async ({ params, query, body }) => {
      const name = params["*"];
      if (body.pool && body.pool !== name) {
        throw badRequest("Invalid body, pool name from request body doesn't match uri parameter");
      }
      refuseTeam(context, body);
      await require(name);
      if (name === DEFAULT_POOL) checkDefaultPool(query.update_mask);
      else requireComplete(body);
      await updatePool(db, name, changesOf(masked(body, query.update_mask)));
      changed();
      return toResponse(await require(name));
    },
  );

  app.delete(
    "/pools/*",
    { schema: { params: nameParams }, config: op, preValidation: audited(db, "delete_pool") },
    async ({ params }, reply) => {
      const name = params["*"];
      if (name === DEFAULT_POOL) throw badRequest("Default Pool can't be deleted");
      if ((await deletePools(db, [name])).length === 0) throw missing(name);
      changed();
      return reply.code(204).send();
    },
  );

  app.patch(
    "/pools",
    { schema: { body: bulk }, config: op, preValidation: audited(db, "bulk_pools") },
    async ({ body }) => {
      for (const action of body.actions) {
        for (const entity of action.entities) if (typeof entity !== "string") refuseTeam(context, entity);
      }
      const existing = async (names: readonly string[]) => new Set((await findPools(db, names)).map((row) => row.pool));
      const answer = await runBulk<typeof pool>(body.actions, {
        create: async (action, outcome) => {
          const present = await existing(action.entities.map(({ name }) => name));
          if (action.action_on_existence === "fail" && present.size > 0) {
            throw conflict(`The pools with these pool names: ${pythonSet(present)} already exist.`);
          }
          for (const entity of action.entities) {
            const exists = present.has(entity.name);
            if (exists && action.action_on_existence === "skip") continue;
            // An overwrite leaves alone what the body does not say.
            if (exists) await updatePool(db, entity.name, changesOf(entity));
            else await createPool(db, entity.name, newFields(entity));
            outcome.success.push(entity.name);
          }
        },
        update: async (action, outcome) => {
          const names = action.entities.map(({ name }) => name);
          const present = await existing(names);
          requireAll(names, present, action.action_on_non_existence);
          for (const entity of action.entities) {
            if (!present.has(entity.name)) continue;
            const mask = action.update_mask ?? undefined;
            if (entity.name === DEFAULT_POOL) checkDefaultPool(mask);
            await updatePool(db, entity.name, changesOf(masked(entity, mask)));
            outcome.success.push(entity.name);
          }
        },
        delete: async (action, outcome) => {
          const names = action.entities.map((entity) => (typeof entity === "string" ? entity : entity.name));
          requireAll(names, await existing(names), action.action_on_non_existence);
          // Airflow lets a bulk delete take the default pool; tasks without a pool of their own would never run again.
          if (names.includes(DEFAULT_POOL)) throw badRequest("Default Pool can't be deleted");
          outcome.success.push(...(await deletePools(db, names)));
        },
      });
      changed();
      return answer;
    },
  );

  async function require(name: string): Promise<PoolRow> {
    const [row] = await findPools(db, [name]);
    if (!row) throw missing(name);
    return row;
  }
}

const missing = (name: string) => notFound(`The Pool with name: \`${name}\` was not found`);

function toResponse(row: PoolRow) {
  const occupied = row.running_slots + row.queued_slots + (row.include_deferred ? row.deferred_slots : 0);
  return {
    name: row.pool,
    slots: row.slots,
    description: row.description,
    include_deferred: row.include_deferred,
    occupied_slots: occupied,
    running_slots: row.running_slots,
    queued_slots: row.queued_slots,
    scheduled_slots: row.scheduled_slots,
    open_slots: row.slots === -1 ? -1 : row.slots - occupied,
    deferred_slots: row.deferred_slots,
    team_name: row.team_name,
  };
}

function newFields(body: Pool): PoolFields {
  return {
    slots: body.slots,
    description: body.description ?? null,
    include_deferred: body.include_deferred ?? false,
    team_name: body.team_name ?? null,
  };
}

/** The columns a body names. null does not unset what must have a value. */
function changesOf(body: Partial<Pool> | Partial<PatchBody>): Partial<PoolFields> {
  return {
    ...(body.slots == null ? {} : { slots: body.slots }),
    ...("description" in body ? { description: body.description ?? null } : {}),
    ...(body.include_deferred == null ? {} : { include_deferred: body.include_deferred }),
    ...("team_name" in body ? { team_name: body.team_name ?? null } : {}),
  };
}

function checkDefaultPool(mask: readonly string[] | undefined): void {
  const allowed = ["slots", "include_deferred"];
  if (mask?.length && mask.every((field) => allowed.includes(field.trim()))) return;
  throw badRequest("Only slots and included_deferred can be modified on Default Pool");
}

/** A PATCH of another pool must hold all of it, mask or no mask, as Airflow wants it. */
function requireComplete(body: PatchBody): void {
  const missing = (["pool", "slots", "include_deferred"] as const).filter((name) => !(name in body));
  if (missing.length === 0) return;
  throw unprocessable(missing.map((name) => ({ type: "missing", loc: [name], msg: "Field required", input: body })));
}

function requireAll(names: readonly string[], present: ReadonlySet<string>, onMissing: "fail" | "skip"): void {
  const absent = names.filter((name) => !present.has(name));
  if (onMissing === "skip" || absent.length === 0) return;
  throw notFound(`The pools with these pool names: ${pythonSet(absent)} were not found.`);
}
