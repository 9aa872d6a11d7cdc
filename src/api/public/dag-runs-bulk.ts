import { Type } from "typebox";
import { deleteDagRun, findDagRunSummaries, type DagRunSummary } from "../../store/query-dag-runs.ts";
import { audited } from "../audit.ts";
import { userOf, type ApiContext, type TypedApp } from "../context.ts";
import { notFound } from "../errors.ts";
import { strictObject } from "../schema.ts";
import { bulkBody, runBulk, type BulkOutcome, type OnNonExistence } from "./bulk.ts";
import { cannotDelete, noteField, patchRun, stateField, type MutableState } from "./dag-runs.ts";

/** `PATCH /dags/{dag_id}/dagRuns`: many runs updated or deleted by one request. */

export const bulkRunEntity = strictObject({
  dag_run_id: Type.String(),
  dag_id: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  state: stateField,
  note: noteField,
});

interface Entity {
  dag_run_id: string;
  dag_id?: string | null;
  state?: MutableState | null;
  note?: string | null;
}

type Key = readonly [dagId: string, runId: string];

export function dagRunBulkRoutes(app: TypedApp, context: ApiContext): void {
  const { db, bus } = context;

  app.patch(
    "/dags/:dag_id/dagRuns",
    {
      schema: { params: Type.Object({ dag_id: Type.String() }), body: bulkBody(bulkRunEntity) },
      config: { role: "USER" },
      preValidation: audited(db, "bulk_dag_runs"),
    },
    async (request) => {
      const dagId = request.params.dag_id;
      const userName = userOf(request).name;
      return await runBulk<typeof bulkRunEntity>(request.body.actions, {
        create: (_action, outcome) => {
          const error = "Dag Runs bulk create is not supported. Use the trigger Dag Run endpoint instead.";
          outcome.errors.push({ error, status_code: 405 });
          return Promise.resolve();
        },
        update: async (action, outcome) => {
          const keyed = keysOf(dagId, action.entities, outcome);
          await updateAll(keyed, await findRuns(keyed, action.action_on_non_existence), outcome, userName);
        },
        delete: async (action, outcome) => {
          const keyed = keysOf(dagId, action.entities, outcome);
          await deleteAll(await findRuns(keyed, action.action_on_non_existence), outcome);
        },
      });
    },
  );

  /** The runs that exist; a missing one is an error when the action says so. */
  async function findRuns(keyed: ReadonlyMap<string, Keyed>, onMissing: OnNonExistence): Promise<DagRunSummary[]> {
    const runs = await findDagRunSummaries(
      db,
      [...keyed.values()].map(({ key }) => key),
    );
    const found = new Set(runs.map((run) => nameOf([run.dag_id, run.run_id])));
    const missing = [...keyed.values()].filter(({ key }) => !found.has(nameOf(key)));
    if (onMissing === "fail" && missing.length > 0) {
      const names = missing.map(({ key: [dagId, runId] }) => `('${dagId}', '${runId}')`).sort();
      throw notFound(`The DagRuns with these identifiers: [${names.join(", ")}] were not found`);
    }
    return runs;
  }

  async function updateAll(
    keyed: ReadonlyMap<string, Keyed>,
    runs: readonly DagRunSummary[],
    result: BulkOutcome,
    userName: string,
  ): Promise<void> {
    const byName = new Map(runs.map((run) => [nameOf([run.dag_id, run.run_id]), run]));
    for (const [name, { entity }] of keyed) {
      const run = byName.get(name);
      if (!run || !entity) continue;
      const note = entity.note ?? undefined;
      await patchRun(context, run, { state: entity.state ?? null, ...(note === undefined ? {} : { note }) }, userName);
      result.success.push(`${run.dag_id}.${run.run_id}`);
    }
  }

  async function deleteAll(runs: readonly DagRunSummary[], result: BulkOutcome): Promise<void> {
    const sorted = [...runs].sort((a, b) => compare([a.dag_id, a.run_id], [b.dag_id, b.run_id]));
    for (const run of sorted) {
      if (run.state === "running" || !(await deleteDagRun(db, run.id))) {
        result.errors.push({ error: cannotDelete(run.dag_id, run.run_id), status_code: 409 });
        continue;
      }
      bus.publish({ kind: "dag-run", dagRunId: run.id });
      result.success.push(`${run.dag_id}.${run.run_id}`);
    }
  }
}

interface Keyed {
  key: Key;
  entity: Entity | null;
}

const nameOf = (key: Key) => JSON.stringify(key);
const compare = (a: Key, b: Key) => (a[0] === b[0] ? (a[1] < b[1] ? -1 : 1) : a[0] < b[0] ? -1 : 1);

/** Which runs the entities mean; the last entity about a run counts. A wildcard left open is noted as an error. */
function keysOf(dagId: string, entities: readonly (string | Entity)[], result: BulkOutcome): Map<string, Keyed> {
  const keyed = new Map<string, Keyed>();
  for (const entity of entities) {
    const key: Key = typeof entity === "string" ? [dagId, entity] : [entity.dag_id || dagId, entity.dag_run_id];
    if (key.includes("~")) {
      const error =
        typeof entity === "string"
          ? `When using wildcard in path, dag_id must be specified in BulkDAGRunBody object, not as string for dag_run_id: ${entity}`
          : `When using wildcard in path, dag_id must be specified in request body for dag_run_id: ${entity.dag_run_id}`;
      result.errors.push({ error, status_code: 400 });
      continue;
    }
    keyed.set(nameOf(key), { key, entity: typeof entity === "string" ? null : entity });
  }
  return keyed;
}
