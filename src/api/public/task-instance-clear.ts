import { Type, type Static } from "typebox";
import type { Instant } from "../../kit/instant.ts";
import type { DagGraph } from "../../domain/dag-graph.ts";
import { relevantRelatives, subset, type Direction, type TaskMarker } from "../../domain/task-relatives.ts";
import { clearTaskInstances } from "../../store/clear.ts";
import { expandedCounts } from "../../store/mapped-counts.ts";
import { findRun, rerunsWithLatestVersion, type RunRef } from "../../store/run-lookup.ts";
import { selectTaskInstances, type TaskSelection } from "../../store/task-selection.ts";
import { findTaskInstancesById } from "../../store/task-instances.ts";
import { audited } from "../audit.ts";
import { userOf, type ApiContext, type TypedApp } from "../context.ts";
import { badRequest, conflict, notFound, unprocessable } from "../errors.ts";
import { sendRaw } from "../raw-json.ts";
import { InstantText, nullable, strictObject, toAwareInstant, valueError } from "../schema.ts";
import { latestGraph } from "./dag-lookup.ts";
import { toTaskInstanceCollection } from "./task-instance-answers.ts";

const dagParams = Type.Object({ dag_id: Type.String() });

// Defaults are applied by the handler: the rules between fields look at what the client gave.
const clearBody = strictObject({
  dry_run: Type.Boolean({ default: true }),
  start_date: Type.Optional(nullable(InstantText)),
  end_date: Type.Optional(nullable(InstantText)),
  only_failed: Type.Optional(Type.Boolean()),
  only_running: Type.Optional(Type.Boolean()),
  reset_dag_runs: Type.Boolean({ default: true }),
  task_ids: Type.Optional(nullable(Type.Array(Type.Union([Type.String(), Type.Array(Type.Unknown())])))),
  dag_run_id: Type.Optional(nullable(Type.String())),
  include_upstream: Type.Boolean({ default: false }),
  include_downstream: Type.Boolean({ default: false }),
  include_future: Type.Boolean({ default: false }),
  include_past: Type.Boolean({ default: false }),
  run_on_latest_version: Type.Optional(nullable(Type.Boolean())),
  prevent_running_task: Type.Boolean({ default: false }),
  note: Type.Optional(nullable(Type.String({ maxLength: 1000 }))),
});
type ClearBody = Static<typeof clearBody>;

export const RUNNING_TASK_REFUSED =
  "AirflowClearRunningTaskException: Disable 'prevent_running_task' to proceed, or wait until the task is not running, " +
  "queued, or scheduled state.";

/** `POST /dags/{dag_id}/clearTaskInstances`. */
export function clearTaskInstanceRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;

  app.post(
    "/dags/:dag_id/clearTaskInstances",
    {
      schema: { params: dagParams, body: clearBody },
      config: { role: "USER" },
      preValidation: audited(db, "post_clear_task_instances"),
    },
    async (request, reply) => {
      const { body } = request;
      const dagId = request.params.dag_id;
      checkRules(body);
      const latest = await latestGraph(context, dagId);
      const runOnLatestVersion = body.run_on_latest_version ?? (await rerunsWithLatestVersion(db, dagId)) ?? false;
      const run = await runOf(context, dagId, body);
      const graph = run?.version_id ? await context.graph(run.version_id) : latest;
      const selection = await selectionOf(context, { dagId, body, run, graph });
      if (body.dry_run) {
        const ids = await selectTaskInstances(db, selection);
        return sendRaw(reply, toTaskInstanceCollection(await findTaskInstancesById(db, ids)));
      }
      const result = await clearTaskInstances(context, selection, {
        dagRunState: body.reset_dag_runs ? "queued" : false,
        runOnLatestVersion,
        preventRunningTask: body.prevent_running_task,
        note: body.note == null ? null : { text: body.note, userId: userOf(request).name },
      });
      if (result.kind === "running") throw conflict(RUNNING_TASK_REFUSED);
      const rows = await findTaskInstancesById(
        db,
        result.cleared.map(({ id }) => id),
      );
      return sendRaw(reply, toTaskInstanceCollection(rows));
    },
  );
}

function checkRules(body: ClearBody): void {
  const refuse = (message: string): never => {
    throw valueError(["body"], message, body);
  };
  const { start_date: start, end_date: end, dag_run_id: runId } = body;
  if (body.only_failed && body.only_running) refuse("only_failed and only_running both are set to True");
  if (start && end && start > end) refuse("end_date is sooner than start_date");
  if (start && end && runId) refuse("Exactly one of dag_run_id or (start_date and end_date) must be provided");
  if (start && runId) refuse("Exactly one of dag_run_id or start_date must be provided");
  if (end && runId) refuse("Exactly one of dag_run_id or end_date must be provided");
  if (body.task_ids?.length === 0) refuse("task_ids list should have at least 1 element.");
}

async function runOf(context: ApiContext, dagId: string, body: ClearBody): Promise<RunRef | null> {
  if (body.dag_run_id == null) return null;
  const run = await findRun(context.db, dagId, body.dag_run_id);
  if (!run) throw notFound(`Dag Run id ${body.dag_run_id} not found in dag ${dagId}`);
  if ((body.include_past || body.include_future) && run.logical_date === null) {
    throw badRequest(
      "Cannot use include_past or include_future with no logical_date(e.g. manually or asset-triggered).",
    );
  }
  return run;
}

async function selectionOf(
  context: ApiContext,
  given: { dagId: string; body: ClearBody; run: RunRef | null; graph: DagGraph },
): Promise<TaskSelection> {
  const { dagId, body, run, graph } = given;
  const { include_past: past, include_future: future } = body;
  const date = (text: string | null | undefined, name: string): Instant | null =>
    text == null ? null : toAwareInstant(text, ["body", name]);
  const startDate = past ? null : run ? run.logical_date : date(body.start_date, "start_date");
  const endDate = future ? null : run ? run.logical_date : date(body.end_date, "end_date");
  const tasks = body.task_ids ? await withRelatives(context, { ...given, markers: markersOf(body.task_ids) }) : null;
  const runs = run && !past && !future ? { runIds: [run.run_id] } : { startDate, endDate };
  return {
    dagId,
    ...runs,
    ...(tasks ? { tasks: withSetups(graph, tasks) } : {}),
    states: [
      ...((body.only_failed ?? true) ? (["failed", "upstream_failed"] as const) : []),
      ...(body.only_running ? (["running"] as const) : []),
    ],
  };
}

async function withRelatives(
  context: ApiContext,
  given: { body: ClearBody; run: RunRef | null; graph: DagGraph; markers: TaskMarker[] },
): Promise<TaskMarker[]> {
  const { body, run, graph, markers } = given;
  const known = markers.filter((marker) => graph.tasks.has(typeof marker === "string" ? marker : marker[0]));
  const { include_upstream: upstream, include_downstream: downstream } = body;
  if (!upstream && !downstream) return markers;
  if (!run) {
    // Which map indexes belong together is only known within one run.
    const ids = known.map((marker) => (typeof marker === "string" ? marker : marker[0]));
    return [...markers, ...subset(graph, ids, { upstream, downstream, excludeOriginal: true })];
  }
  const counts = await expandedCounts(context.db, run.id, graph);
  const found: TaskMarker[] = [...markers];
  const directions: [boolean, Direction][] = [
    [upstream, "upstream"],
    [downstream, "downstream"],
  ];
  // The second direction starts from what the first one found, as Airflow's does.
  for (const [wanted, direction] of directions) {
    if (!wanted) continue;
    const from = found.filter((marker) => graph.tasks.has(typeof marker === "string" ? marker : marker[0]));
    found.push(...(await relevantRelatives(graph, from, direction, counts)));
  }
  return found;
}

/** The setups and teardowns that belong to the tasks are cleared with them. */
function withSetups(graph: DagGraph, markers: readonly TaskMarker[]): TaskMarker[] {
  const ids = new Set(markers.map((marker) => (typeof marker === "string" ? marker : marker[0])));
  const all = subset(graph, ids, { upstream: false, downstream: false });
  return [...markers, ...[...all].filter((id) => !ids.has(id))];
}

function markersOf(given: readonly (string | readonly unknown[])[]): TaskMarker[] {
  return given.map((marker, at) => {
    if (typeof marker === "string") return marker;
    const [taskId, mapIndex] = marker;
    if (marker.length === 2 && typeof taskId === "string" && Number.isInteger(mapIndex)) {
      return [taskId, mapIndex as number];
    }
    const loc = ["body", "task_ids", at, "tuple[str,int]"];
    throw unprocessable([{ type: "tuple_type", loc, msg: "Input should be a valid tuple", input: marker }]);
  });
}
