import type { FastifyRequest } from "fastify";
import { Type } from "typebox";
import { isFinished } from "../../domain/states.ts";
import {
  brokenFiles,
  dagStanding,
  liveRunsOf,
  runStanding,
  type DagStanding,
  type RunStanding,
} from "../../store/waiting-work.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { notFound } from "../errors.ts";
import { dagRunNotFound } from "../public/dag-lookup.ts";
import { LIVE_RUNS, whyDag } from "./why-dag.ts";
import type { Reason, Why } from "./why-contract.ts";
import { dagPaused, listed, named, taskName, written, type WhyContext } from "./why-reason.ts";
import { namedRun, whyRunWaits } from "./why-run.ts";
import { RunView } from "./why-task.ts";

const dagParams = Type.Object({ dag_id: Type.String() });
const runParams = Type.Object({ dag_id: Type.String(), run_id: Type.String() });
const taskParams = Type.Object({ dag_id: Type.String(), run_id: Type.String(), task_id: Type.String() });
const querystring = Type.Object({ map_index: Type.Optional(Type.Integer({ minimum: -1 })) });
const config = { role: "VIEWER" } as const;

/** `/api/leoflow/why/…`: the rule that holds a DAG, a run or a task, as the code that decides sees it. */
export function whyRoutes(app: TypedApp, api: ApiContext): void {
  const asOf = () => ({ as_of: api.kit.clock.now() });
  const contextOf = (request: FastifyRequest): WhyContext => ({ ...api, teams: teamsOf(request) });
  app.get("/why/:dag_id", { config, schema: { params: dagParams } }, async (request): Promise<Why> => {
    const { dag_id } = request.params;
    const context = contextOf(request);
    const standing = await requireDag(context, dag_id);
    return { dag_id, ...asOf(), reasons: await whyDag(context, dag_id, standing) };
  });
  app.get("/why/:dag_id/:run_id", { config, schema: { params: runParams } }, async (request): Promise<Why> => {
    const { params } = request;
    const context = contextOf(request);
    const { standing, run } = await requireRun(context, params);
    const reasons = await whyRun(context, run, standing.is_paused);
    const staging = await api.staging?.(params.dag_id, params.run_id);
    return { ...params, state: run.state, ...(staging == null ? {} : { staging }), ...asOf(), reasons };
  });
  app.get(
    "/why/:dag_id/:run_id/:task_id",
    { config, schema: { params: taskParams, querystring } },
    async (request): Promise<Why> => {
      const { params, query } = request;
      const context = contextOf(request);
      const { standing, run } = await requireRun(context, params);
      const about = await whyTask(context, run, standing.is_paused, {
        taskId: params.task_id,
        mapIndex: query.map_index,
      });
      const index = query.map_index === undefined ? {} : { map_index: query.map_index };
      return { ...params, ...index, ...asOf(), ...about };
    },
  );
}

async function requireDag({ db, teams }: WhyContext, dagId: string): Promise<DagStanding> {
  const standing = await dagStanding(db, dagId);
  if (standing) return standing;
  // It may be in one of these.
  const { shown, more } = named(teams === null ? await brokenFiles(db) : []);
  const broken = shown.length === 0 ? "" : `. Files that cannot be imported: ${listed(shown, more)}`;
  throw notFound(`The Dag with ID: \`${dagId}\` was not found${broken}`);
}

async function requireRun(context: WhyContext, { dag_id, run_id }: { dag_id: string; run_id: string }) {
  const standing = await requireDag(context, dag_id);
  const run = await runStanding(context.db, dag_id, run_id);
  if (!run) throw dagRunNotFound(dag_id, run_id);
  return { standing, run };
}

async function whyRun(context: WhyContext, run: RunStanding, isPaused: boolean): Promise<Reason[]> {
  switch (run.state) {
    case "queued":
      return await whyRunWaits(context, run, await liveRunsOf(context.db, run.dag_id, LIVE_RUNS), isPaused);
    case "running": {
      const running: Reason = {
        code: "run_running",
        message: `Run ${run.run_id} is running${run.start_date === null ? "" : ` since ${written(run.start_date)}`}.`,
        ...(run.start_date === null ? {} : { since: run.start_date }),
        dag_runs: [namedRun(run)],
      };
      const view = await RunView.read(context, run);
      const tasks = view ? await view.whyNot(view.instances) : [];
      // Said once for the run, not for each of its tasks.
      const paused = isPaused ? [dagPaused(run.dag_id)] : [];
      return [...paused, running, ...tasks.filter(({ code }) => code !== "paused")];
    }
    case "success":
    case "failed":
      return [await whyRunEnded(context, run)];
  }
}

async function whyRunEnded(context: WhyContext, run: RunStanding): Promise<Reason> {
  const ended = `Run ${run.run_id} ended as ${run.state}${run.end_date === null ? "" : ` at ${written(run.end_date)}`}`;
  const since = run.end_date === null ? {} : { since: run.end_date };
  const view = run.state === "failed" ? await RunView.read(context, run) : null;
  const failed = view?.instances.filter(({ state }) => state === "failed") ?? [];
  if (failed.length === 0) return { code: "run_finished", message: `${ended}.`, ...since, dag_runs: [namedRun(run)] };
  const { shown, more } = named(failed);
  const instances = shown.map(({ taskId, mapIndex, state }) => ({
    dag_id: run.dag_id,
    run_id: run.run_id,
    task_id: taskId,
    map_index: mapIndex,
    state,
  }));
  return {
    code: "run_finished",
    message: `${ended}; failed: ${listed(instances.map(taskName), more)}.`,
    ...since,
    dag_runs: [namedRun(run)],
    task_instances: instances,
    ...(more === undefined ? {} : { more }),
  };
}

async function whyTask(
  context: WhyContext,
  run: RunStanding,
  isPaused: boolean,
  { taskId, mapIndex }: { taskId: string; mapIndex: number | undefined },
): Promise<Pick<Why, "state" | "reasons">> {
  const view = await RunView.read(context, run);
  const instances = view?.instances.filter((ti) => ti.taskId === taskId) ?? [];
  const asked = mapIndex === undefined ? instances : instances.filter((ti) => ti.mapIndex === mapIndex);
  const place = taskName({ task_id: taskId, map_index: mapIndex ?? -1 });
  const [only, ...others] = asked;
  if (view === null || only === undefined) {
    if (instances.length > 0 || view?.hasTask(taskId) !== true)
      throw notFound(
        `The Task Instance with dag_id: \`${run.dag_id}\`, run_id: \`${run.run_id}\` and task_id: \`${place}\` was not found`,
      );
    if (run.state === "queued") return { reasons: await whyRun(context, run, isPaused) };
    const message = `${place} has no task instance in run ${run.run_id}: its dates leave the run out, or it is newer than the run.`;
    return { reasons: [{ code: "no_task_instance", message }] };
  }
  const state = others.length === 0 ? { state: only.state } : {};
  const isOver = asked.every((ti) => isFinished(ti.state));
  if (!isOver && run.state === "queued") return { ...state, reasons: await whyRun(context, run, isPaused) };
  if (!isOver && run.state !== "running") {
    const message = `Run ${run.run_id} ended as ${run.state}: ${place} does not go on.`;
    return { ...state, reasons: [{ code: "run_finished", message, dag_runs: [namedRun(run)] }] };
  }
  const reasons = others.length === 0 ? await view.why(only) : await view.whyNot(asked);
  if (reasons.length > 0) return { ...state, reasons };
  return { reasons: [{ code: "finished", message: `All ${asked.length} task instances of ${taskId} have ended.` }] };
}
