import { Type } from "typebox";
import { pythonIsoFormat, type Instant } from "../../kit/instant.ts";
import type { DagGraph, TaskNode } from "../../domain/dag-graph.ts";
import { isFinished, type TriggerRule } from "../../domain/states.ts";
import { evaluateTriggerRule, type UpstreamTally } from "../../domain/trigger-rule.ts";
import { findRun } from "../../store/run-lookup.ts";
import { findTaskInstance, type TaskInstanceRow } from "../../store/task-instances.ts";
import { statesOfTasks, waitingFacts, type WaitingFacts } from "../../store/waiting-facts.ts";
import type { ApiContext, TypedApp } from "../context.ts";
import { ApiError } from "../errors.ts";
import { taskInstanceNotFound } from "./task-instances.ts";

const taskParams = Type.Object({ dag_id: Type.String(), dag_run_id: Type.String(), task_id: Type.String() });
const querystring = Type.Object({ map_index: Type.Integer({ default: -1 }) });
const mappedParams = Type.Object({ ...taskParams.properties, map_index: Type.Integer() });

/** One reason why a task instance is not queued yet, under Airflow's name for the rule. */
interface Dependency {
  name: string;
  reason: string;
}

/** `…/dependencies`: why a task instance waits, in Airflow's words. */
export function taskDependencyRoutes(app: TypedApp, context: ApiContext): void {
  const TASK = "/dags/:dag_id/dagRuns/:dag_run_id/taskInstances/:task_id";
  const answer = async (params: { dag_id: string; dag_run_id: string; task_id: string }, mapIndex: number) => {
    const place = { dagId: params.dag_id, runId: params.dag_run_id, taskId: params.task_id, mapIndex };
    const row = await findTaskInstance(context.db, place);
    // A list of one text: Airflow has a tuple there.
    if (!row) throw new ApiError(404, [taskInstanceNotFound(place).detail]);
    return { dependencies: await dependenciesOf(context, row) };
  };
  app.get(`${TASK}/dependencies`, { schema: { params: taskParams, querystring } }, ({ params, query }) =>
    answer(params, query.map_index),
  );
  app.get(`${TASK}/:map_index/dependencies`, { schema: { params: mappedParams } }, ({ params }) =>
    answer(params, params.map_index),
  );
}

async function dependenciesOf(context: ApiContext, row: TaskInstanceRow): Promise<Dependency[]> {
  if (row.state !== null && row.state !== "scheduled") return [];
  const run = await findRun(context.db, row.dag_id, row.run_id);
  const graph = run?.version_id ? await context.graph(run.version_id) : null;
  const task = graph?.tasks.get(row.task_id);
  if (!graph || !task) return [];
  const facts = await waitingFacts(context.db, {
    dagId: row.dag_id,
    dagRunId: row.dag_run_id,
    taskId: row.task_id,
    pool: row.pool,
  });
  if (!facts) return [];
  const found = [
    ...ofState(row),
    ...ofDates(graph, task, facts, context.kit.clock.now()),
    ...ofLimits(graph, task, row, facts),
    ...ofRun(row, facts),
    ...ofPast(task, facts),
    ...ofUpstream(graph, task, row, await statesOfTasks(context.db, row.dag_run_id, task.upstream)),
  ];
  return found.sort((one, other) => (one.name < other.name ? -1 : one.name > other.name ? 1 : 0));
}

function ofState(row: TaskInstanceRow): Dependency[] {
  return row.state === null ? [{ name: "Task Instance State", reason: "Task is in the 'None' state." }] : [];
}

function ofRun(row: TaskInstanceRow, facts: WaitingFacts): Dependency[] {
  const found: Dependency[] = [];
  if (facts.run_state !== "running") {
    const reason = `Task instance's dagrun was not in the 'running' state but in the state '${facts.run_state}'.`;
    found.push({ name: "Dagrun Running", reason });
  }
  if (facts.is_paused) found.push({ name: "Dag Not Paused", reason: `Task's DAG '${row.dag_id}' is paused.` });
  return found;
}

function ofDates(graph: DagGraph, task: TaskNode, facts: WaitingFacts, now: Instant): Dependency[] {
  const date = facts.logical_date;
  if (date === null) return [];
  const iso = pythonIsoFormat;
  const reasons: string[] = [];
  if (date > now) reasons.push(`Logical date ${iso(date)} is in the future (the current date is ${iso(now)}).`);
  const bounds: [Instant | null, string, boolean][] = [
    [task.endDate, "after the task's end date", true],
    [graph.endDate, "after the task's DAG's end date", true],
    [task.startDate, "before the task's start date", false],
    [graph.startDate, "before the task's DAG's start date", false],
  ];
  for (const [bound, words, isEnd] of bounds) {
    if (bound === null || (isEnd ? date <= bound : date >= bound)) continue;
    reasons.push(`The logical date is ${iso(date)} but this is ${words} ${iso(bound)}.`);
  }
  return reasons.map((reason) => ({ name: "Logical Date", reason }));
}

function ofLimits(graph: DagGraph, task: TaskNode, row: TaskInstanceRow, facts: WaitingFacts): Dependency[] {
  const found: Dependency[] = [];
  if (facts.active_in_run >= graph.maxActiveTasks) {
    const reason =
      `The maximum number of running tasks (${graph.maxActiveTasks}) for ` +
      `this task's DAG '${row.dag_id}' has been reached.`;
    found.push({ name: "Task Instance Slots Available", reason });
  }
  if (task.maxActiveTisPerDag !== null && facts.active_of_task >= task.maxActiveTisPerDag) {
    found.push({ name: "Task Concurrency", reason: "The max task concurrency has been reached." });
  } else if (task.maxActiveTisPerDagrun !== null && facts.active_of_task_in_run >= task.maxActiveTisPerDagrun) {
    found.push({ name: "Task Concurrency", reason: "The max task concurrency per run has been reached." });
  }
  const { pool } = facts;
  if (!pool) {
    const reason = `Tasks using non-existent pool '${row.pool}' will not be scheduled`;
    found.push({ name: "Pool Slots Available", reason });
  } else if (pool.slots !== -1 && pool.slots - pool.occupied < row.pool_slots) {
    const reason =
      `Not scheduling since there are ${pool.slots - pool.occupied} open slots in pool ${row.pool} ` +
      `and require ${row.pool_slots} pool slots`;
    found.push({ name: "Pool Slots Available", reason });
  }
  return found;
}

function ofPast(task: TaskNode, facts: WaitingFacts): Dependency[] {
  if (!task.dependsOnPast || !facts.unfinished_before) return [];
  const reason =
    `depends_on_past is true for this task, but ${facts.unfinished_before.count} ` +
    "previous task instance(s) are not in a successful state.";
  return [{ name: "Previous Dagrun State", reason }];
}

function ofUpstream(
  graph: DagGraph,
  task: TaskNode,
  row: TaskInstanceRow,
  states: Awaited<ReturnType<typeof statesOfTasks>>,
): Dependency[] {
  if (task.upstream.length === 0 || task.triggerRule === "always") return [];
  // Inside a common mapped group, only the instance of the same iteration counts.
  const group = task.mappedGroups.at(-1);
  const relevant = states.filter(({ task_id, map_index }) => {
    const upstream = graph.tasks.get(task_id);
    const together = group !== undefined && upstream?.mappedGroups.includes(group) && !upstream.expandInput;
    return !together || row.map_index < 0 || map_index < 0 || map_index === row.map_index;
  });
  const count = (state: string, among = relevant): number => among.filter((one) => one.state === state).length;
  const setups = relevant.filter(({ task_id }) => graph.tasks.get(task_id)?.isSetup);
  const tally: UpstreamTally = {
    success: count("success"),
    skipped: count("skipped"),
    failed: count("failed"),
    upstreamFailed: count("upstream_failed"),
    removed: count("removed"),
    done: relevant.filter(({ state }) => isFinished(state)).length,
    successSetup: count("success", setups),
    skippedSetup: count("skipped", setups),
    expected: Math.max(relevant.length, task.upstream.length),
    expectedSetup: setups.length,
  };
  if (evaluateTriggerRule(task.triggerRule, tally, row.map_index).met) return [];
  const ids = `{${[...task.upstream]
    .sort()
    .map((id) => `'${id}'`)
    .join(", ")}}`;
  const tail = `upstream_states=${writtenTally(tally)}, upstream_task_ids=${ids}`;
  const reason = `Task's trigger rule '${task.triggerRule}' ${unmet(task.triggerRule, tally)}. ${tail}`;
  return [{ name: "Trigger Rule", reason }];
}

function unmet(rule: TriggerRule, tally: UpstreamTally): string {
  const { success, skipped, failed, upstreamFailed, removed, done, expected } = tally;
  const all = "requires all upstream tasks to have";
  const notDone = `${all} completed, but found ${expected - done} task(s) that were not done`;
  const nonSuccess = `but found ${expected - success - skipped - removed} non-success(es)`;
  switch (rule) {
    case "all_success":
      return `${all} succeeded, but found ${expected - success - removed} non-success(es)`;
    case "all_failed":
      return `${all} failed, but found ${expected - failed - upstreamFailed - removed} non-failure(s)`;
    case "one_success":
      return "requires one upstream task success, but none were found";
    case "one_failed":
      return "requires one upstream task failure, but none were found";
    case "one_done":
      return "requires at least one upstream task failure or success but none were failed or success";
    case "none_failed":
      return `${all} succeeded or been skipped, ${nonSuccess}`;
    case "none_failed_min_one_success":
      return expected - success - skipped - removed > 0
        ? `${all} succeeded or been skipped, ${nonSuccess}`
        : "requires at least one upstream task success, but none were found";
    case "none_skipped":
      return `requires all upstream tasks to not have been skipped, but found ${skipped} task(s) skipped`;
    case "all_skipped":
      return `${all} been skipped, but found ${expected - skipped} task(s) in non skipped state`;
    case "all_done_setup_success":
      if (done < expected) return notDone;
      return `requires at least one upstream setup task be successful, but found ${tally.expectedSetup} task(s) that were not`;
    case "all_done_min_one_success":
      return `requires all non-skipped upstream tasks to have completed, but found ${expected - done} task(s) that were not done`;
    case "all_done":
    case "always":
      return notDone;
  }
}

function writtenTally(tally: UpstreamTally): string {
  const { success, skipped, failed, upstreamFailed, removed, done, successSetup, skippedSetup } = tally;
  return (
    `_UpstreamTIStates(success=${success}, skipped=${skipped}, failed=${failed}, upstream_failed=${upstreamFailed}, ` +
    `removed=${removed}, done=${done}, success_setup=${successSetup}, skipped_setup=${skippedSetup})`
  );
}
