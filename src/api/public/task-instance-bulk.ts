import type { FastifyRequest } from "fastify";
import { Type, type Static } from "typebox";
import { isWithinTeams } from "../../domain/team.ts";
import { deleteTaskInstances, findTaskInstances, type TaskInstanceRow } from "../../store/task-instances.ts";
import { teamsOfDags } from "../../store/teams.ts";
import { teamsOf, userOf, type ApiContext, type TypedApp } from "../context.ts";
import { notFound } from "../errors.ts";
import { nullable, strictObject } from "../schema.ts";
import { bulkBody, runBulk, type BulkOutcome, type OnNonExistence } from "./bulk.ts";
import { applyPatch, patchFields, publishDeleted, requireTask, stateOf } from "./task-instance-patch.ts";

const runParams = Type.Object({ dag_id: Type.String(), dag_run_id: Type.String() });
const entity = strictObject({
  ...patchFields,
  task_id: Type.String(),
  map_index: Type.Optional(nullable(Type.Integer())),
  dag_id: Type.Optional(nullable(Type.String())),
  dag_run_id: Type.Optional(nullable(Type.String())),
});
type Entity = Static<typeof entity>;
const body = bulkBody(entity);

interface Target {
  dag_id: string;
  dag_run_id: string;
  task_id: string;
  map_index: number | null;
  entity: Entity | null;
}

/** `PATCH …/taskInstances`: many task instances at once, in any run when the path says `~`. */
export function taskInstanceBulkRoutes(app: TypedApp, context: ApiContext): void {
  const { db, bus } = context;

  app.patch(
    "/dags/:dag_id/dagRuns/:dag_run_id/taskInstances",
    { schema: { params: runParams, body }, config: { role: "USER" } },
    async (request) => {
      const { params, body } = request;
      const user = userOf(request).name;
      body.actions.forEach((action, at) => {
        if (action.action === "delete") return;
        action.entities.forEach((item, index) =>
          stateOf(item, ["body", "actions", at, action.action, "entities", index]),
        );
      });
      return await runBulk<typeof entity>(body.actions, {
        create: async (_action, outcome) => {
          outcome.errors.push({ error: "Task instances bulk create is not supported", status_code: 405 });
        },
        update: async (action, outcome) => {
          const targets = await allowed(request, targetsOf(params, action.entities, outcome), "update", outcome);
          for (const [target, rows] of await found(context, targets, action.action_on_non_existence)) {
            for (const row of rows) {
              const place = { ...target, map_index: row.map_index };
              const { graph } = await requireTask(context, place);
              const mask = action.update_mask ?? undefined;
              await applyPatch(context, { graph, place, rows: [row], body: target.entity as Entity, mask, user });
              outcome.success.push(nameOf(row));
            }
          }
        },
        delete: async (action, outcome) => {
          const targets = await allowed(request, targetsOf(params, action.entities, outcome), "delete", outcome);
          for (const [, rows] of await found(context, targets, action.action_on_non_existence)) {
            const gone = await deleteTaskInstances(
              db,
              rows.map(({ id }) => id),
            );
            publishDeleted(bus, gone);
            outcome.success.push(...rows.map(nameOf));
          }
        },
      });
    },
  );

  /** Those of the targets that are of DAGs of the user's teams; the others are reported. */
  async function allowed(
    request: FastifyRequest,
    targets: readonly Target[],
    verb: string,
    outcome: BulkOutcome,
  ): Promise<readonly Target[]> {
    const teams = teamsOf(request);
    if (teams === null) return targets;
    const owners = await teamsOfDags(
      db,
      targets.map((target) => target.dag_id),
    );
    return targets.filter(({ dag_id: dagId }) => {
      if (isWithinTeams(owners.get(dagId), teams)) return true;
      const error = `User is not authorized to ${verb} task instances for DAG '${dagId}'`;
      outcome.errors.push({ error, status_code: 403 });
      return false;
    });
  }
}

const nameOf = (row: TaskInstanceRow): string => `${row.dag_id}.${row.run_id}.${row.task_id}[${row.map_index}]`;

/** The places the entities mean; those that leave a `~` open are reported. */
function targetsOf(
  params: { dag_id: string; dag_run_id: string },
  entities: readonly (string | Entity)[],
  outcome: BulkOutcome,
): Target[] {
  return entities.flatMap((given) => {
    const item = typeof given === "string" ? null : given;
    const target = {
      dag_id: item?.dag_id || params.dag_id,
      dag_run_id: item?.dag_run_id || params.dag_run_id,
      task_id: typeof given === "string" ? given : given.task_id,
      map_index: item?.map_index ?? null,
      entity: item,
    };
    if (target.dag_id !== "~" && target.dag_run_id !== "~") return [target];
    const where = item ? "request body" : "BulkTaskInstanceBody object, not as string";
    const error = `When using wildcard in path, dag_id and dag_run_id must be specified in ${where} for task_id: ${target.task_id}`;
    outcome.errors.push({ error, status_code: 400 });
    return [];
  });
}

/** The rows of every target, single map indexes first. Throws when one is missing and that is to fail. */
async function found(
  context: ApiContext,
  targets: readonly Target[],
  onMissing: OnNonExistence,
): Promise<[Target, TaskInstanceRow[]][]> {
  const single = targets.filter((target) => target.map_index !== null);
  const whole = targets.filter((target) => target.map_index === null);
  const result: [Target, TaskInstanceRow[]][] = [];
  const missing: Target[] = [];
  for (const target of [...single, ...whole]) {
    const rows = await findTaskInstances(context.db, {
      dagId: target.dag_id,
      runId: target.dag_run_id,
      taskId: target.task_id,
      ...(target.map_index === null ? {} : { mapIndexes: [target.map_index] }),
    });
    if (rows.length > 0) result.push([target, rows]);
    else missing.push(target);
  }
  if (onMissing === "fail" && missing.length > 0) throw missingError(missing);
  return result;
}

function missingError(missing: readonly Target[]) {
  const single = missing.filter((target) => target.map_index !== null);
  if (single.length === 0) {
    const { dag_id, dag_run_id, task_id } = missing[0] as Target;
    return notFound(`No task instances found for dag_id: ${dag_id}, run_id: ${dag_run_id}, task_id: ${task_id}`);
  }
  const list = single.map(
    ({ dag_id, dag_run_id, task_id, map_index }) =>
      `{'dag_id': '${dag_id}', 'dag_run_id': '${dag_run_id}', 'task_id': '${task_id}', 'map_index': ${map_index}}`,
  );
  return notFound(`The task instances with these identifiers: [${list.join(", ")}] were not found`);
}
