import type { FastifyInstance, FastifyRequest } from "fastify";
import { isWithinTeams, type TeamScope } from "../../domain/team.ts";
import { findBackfillDag } from "../../store/backfills.ts";
import type { Database } from "../../store/database.ts";
import { findEventLogDag } from "../../store/query-catalog.ts";
import { ownersOf, teamsOfDags, unknownTeams, type OwnedTable } from "../../store/teams.ts";
import { teamsOf, userOf } from "../context.ts";
import { ApiError, badRequest, notFound } from "../errors.ts";

/**
 * Airflow's multi-team mode, in front of every route: what a request names must be of the user's teams, or of nobody. Lists
 * leave out the rest themselves, by `teamsOf`. Statuses and words are those of Airflow's core_api/security.py.
 */
export function registerTeamAccess(app: FastifyInstance, db: Database): void {
  app.addHook("onRequest", async (request) => {
    if ((request as FastifyRequest & { user?: unknown }).user === undefined) return;
    const { role, teams = [] } = userOf(request);
    (request as FastifyRequest & { teamScope?: TeamScope }).teamScope = role === "ADMIN" ? null : teams;
  });
  // Before a body is validated, as there: who may not know of a DAG is not told what its body lacks.
  app.addHook("preValidation", async (request) => {
    const scope = teamsOf(request);
    const owned = OWNED.exec(routeOf(request));
    if (owned) await checkOwned(db, request, owned[1] as OwnedTable);
    else if (scope !== null) await checkNamed(db, request, scope);
  });
  // What a bulk change names counts as its handler will read it.
  app.addHook("preHandler", async (request) => {
    const scope = teamsOf(request);
    const route = routeOf(request);
    const table = BULK.get(route);
    if (table) await checkBulk(db, table, request, scope);
    else if (scope !== null && BULK_RUNS.has(route)) await checkDags(db, dagsOfRuns(request), scope);
  });
}

/** "PATCH /api/v2/dags/:dag_id"; HEAD is GET. */
function routeOf({ method, routeOptions: { url = "" } }: FastifyRequest): string {
  return `${method === "HEAD" ? "GET" : method} ${url}`;
}

/** One pool, variable or connection, or one that is made. */
const OWNED =
  /^(?:POST \/api\/v2\/(?=\w+s(?:\/test)?$)|\w+ \/api\/v2\/(?=\w+s\/(?:\*|:connection_id)$))(pool|variable|connection)s/;

/** Bulk changes of them: the table, and what names an entity. */
const BULK: ReadonlyMap<string, { table: OwnedTable; key: string }> = new Map([
  ["PATCH /api/v2/pools", { table: "pool", key: "name" }],
  ["PATCH /api/v2/variables", { table: "variable", key: "key" }],
  ["PATCH /api/v2/connections", { table: "connection", key: "connection_id" }],
]);

/** Their DAGs are named in the body. */
const BULK_RUNS = new Set(["PATCH /api/v2/dags/:dag_id/dagRuns", "POST /api/v2/dags/:dag_id/clearDagRuns"]);
const DAG_IN_BODY = new Set(["POST /api/v2/backfills", "POST /api/v2/backfills/dry_run"]);
/** Airflow asks for assets there: a DAG in the query is but a filter. */
const DAG_AS_FILTER = new Set(["GET /ui/partitioned_dag_runs"]);

const refused = () => new ApiError(403, "Forbidden");

/** Refuses DAGs of other teams. One that is not there is nobody's: its route says so. */
async function checkDags(db: Database, dagIds: readonly unknown[], scope: TeamScope): Promise<void> {
  const named = dagIds.filter((dagId): dagId is string => typeof dagId === "string" && dagId !== "~");
  if (named.length === 0) return;
  for (const team of (await teamsOfDags(db, named)).values()) if (!isWithinTeams(team, scope)) throw refused();
}

/** Whether all of the DAGs, which the request did not name itself, are within its user's teams. */
export async function mayUseDags(db: Database, request: FastifyRequest, dagIds: readonly string[]): Promise<boolean> {
  const scope = teamsOf(request);
  if (scope === null) return true;
  return [...(await teamsOfDags(db, dagIds)).values()].every((team) => isWithinTeams(team, scope));
}

/** `requires_access_dag`, `_backfill` and `_event_log`: the DAG that the path, the query or the body names, or whose the thing is. */
async function checkNamed(db: Database, request: FastifyRequest, scope: TeamScope): Promise<void> {
  const route = routeOf(request);
  const { backfill_id, event_log_id, dag_id } = request.params as Record<string, string | undefined>;
  if (backfill_id !== undefined) return await checkBackfill(db, Number(backfill_id), scope);
  if (event_log_id !== undefined) {
    const id = Number(event_log_id);
    return await checkDags(db, Number.isSafeInteger(id) ? [await findEventLogDag(db, id)] : [], scope);
  }
  if (BULK_RUNS.has(route) || DAG_AS_FILTER.has(route)) return;
  if (dag_id !== undefined) return await checkDags(db, [dag_id], scope);
  if (!DAG_IN_BODY.has(route)) return await checkDags(db, [fieldOf(request.query, "dag_id")].flat(), scope);
  const given = fieldOf(request.body, "dag_id");
  if (given != null && typeof given !== "string") throw badRequest("'dag_id' must be a string");
  await checkDags(db, [given], scope);
}

/** Whoever may not know of a backfill's DAG is told that there is no such backfill. */
async function checkBackfill(db: Database, id: number, scope: TeamScope): Promise<void> {
  const dagId = Number.isSafeInteger(id) ? await findBackfillDag(db, id) : undefined;
  const team = dagId === undefined ? undefined : (await teamsOfDags(db, [dagId])).get(dagId);
  if (!isWithinTeams(team, scope)) throw notFound("Backfill not found");
}

function fieldOf(body: unknown, name: string): unknown {
  return typeof body === "object" && body !== null ? (body as Record<string, unknown>)[name] : undefined;
}

/** `_collect_teams_to_check`: the team that the row has, and the one it is to have. */
async function checkOwned(db: Database, request: FastifyRequest, table: OwnedTable): Promise<void> {
  const scope = teamsOf(request);
  const { "*": star, connection_id: name = star } = request.params as Record<string, string | undefined>;
  if (name !== undefined && scope !== null) {
    if (!isWithinTeams((await ownersOf(db, table, [name])).get(name), scope)) throw refused();
  }
  if (request.method !== "POST" && request.method !== "PATCH") return;
  const team = fieldOf(request.body, "team_name");
  if (team == null) return;
  if (typeof team !== "string") throw badRequest("'team_name' must be a string");
  await checkExist(db, [team]);
  if (!isWithinTeams(team, scope)) throw refused();
}

async function checkExist(db: Database, teams: readonly string[]): Promise<void> {
  const [unknown] = teams.length === 0 ? [] : await unknownTeams(db, teams);
  if (unknown !== undefined) throw badRequest(`Team '${unknown}' does not exist`);
}

interface BulkAction {
  action: "create" | "update" | "delete";
  entities: readonly unknown[];
  action_on_existence?: string;
}

/** One entity of another team, or given to one, and nothing of the request is done. */
async function checkBulk(
  db: Database,
  { table, key }: { table: OwnedTable; key: string },
  request: FastifyRequest,
  scope: TeamScope,
): Promise<void> {
  const { actions } = request.body as { actions: readonly BulkAction[] };
  const given = actions
    .filter(({ action }) => action !== "delete")
    .flatMap(({ entities }) => entities.map((entity) => fieldOf(entity, "team_name")))
    .filter((team): team is string => typeof team === "string");
  await checkExist(db, given);
  if (scope === null) return;
  // What is created with "overwrite" may turn out to exist.
  const named = actions
    .filter(({ action, action_on_existence }) => action !== "create" || action_on_existence === "overwrite")
    .flatMap(({ entities }) => entities.map((entity) => (typeof entity === "string" ? entity : fieldOf(entity, key))))
    .filter((name): name is string => typeof name === "string");
  const owners = await ownersOf(db, table, named);
  if ([...owners.values(), ...given].some((team) => !isWithinTeams(team, scope))) throw refused();
}

/** DAGs of a bulk change of runs: each entity says its own, or means that of the path. */
function dagsOfRuns({ params, body }: FastifyRequest): unknown[] {
  const { dag_id: path } = params as { dag_id: string };
  const { actions, dag_runs: runs = [] } = body as { actions?: readonly BulkAction[]; dag_runs?: readonly unknown[] };
  const entities = actions?.flatMap((each) => each.entities) ?? runs;
  // Without runs the body names partitions of the path's DAG.
  if (entities.length === 0) return [path];
  return entities.map((entity) => fieldOf(entity, "dag_id") || path);
}
