import { newId } from "../../kit/ids.ts";
import { fromJsonText, type JsonText } from "../../kit/json-text.ts";
import type { DagGraph, TaskNode } from "../../domain/dag-graph.ts";
import type { InstanceSnapshot } from "../../domain/decision.ts";
import { RunMemory, type Explanation } from "../../domain/run-memory.ts";
import type { PastHold } from "../../domain/task-judge.ts";
import { heedsPause } from "../../domain/run-start.ts";
import { isFinished, type TaskInstanceState } from "../../domain/states.ts";
import { isMapped } from "../../domain/task-relatives.ts";
import { isOpen } from "../../domain/task-rows.ts";
import { loadRuns, mapLengths, type LiveRunRow } from "../../store/live-runs.ts";
import { runHistory, type RunHistory } from "../../store/run-history.ts";
import { statesOfTasks } from "../../store/waiting-facts.ts";
import { taskStandings, type RunStanding, type TaskStanding } from "../../store/waiting-work.ts";
import type { NamedTaskInstance, Reason } from "./why-contract.ts";
import { dagPaused, listed, named, taskName, written, type WhyContext } from "./why-reason.ts";
import { SlotReader } from "./why-slots.ts";

/** Task instances of a run that are told about one by one. */
const TOLD = 20;
/** Unscheduled task instances that are judged to find those that nothing above holds. */
const JUDGED = 1_000;

/** A run as the scheduler would read it now, to be asked what is decided of its task instances. */
export class RunView {
  readonly #context: WhyContext;
  readonly #run: LiveRunRow;
  readonly #graph: DagGraph;
  readonly #history: RunHistory;
  readonly #memory: RunMemory;
  readonly #slots: SlotReader;
  readonly instances: readonly InstanceSnapshot[];

  private constructor(
    context: WhyContext,
    loaded: { run: LiveRunRow; taskInstances: InstanceSnapshot[] },
    graph: DagGraph,
    history: RunHistory,
  ) {
    this.#context = context;
    this.#run = loaded.run;
    this.#graph = graph;
    this.#history = history;
    this.#memory = new RunMemory(graph, { instances: loaded.taskInstances, ...history }, newId);
    this.#slots = new SlotReader(context, loaded.run, graph);
    this.instances = loaded.taskInstances;
  }

  /** null: the run has no version it could run on. */
  static async read(context: WhyContext, run: RunStanding): Promise<RunView | null> {
    const [loaded] = await loadRuns(context.db, [run.id]);
    if (!loaded) return null;
    const graph = await context.graph(loaded.run.dag_version_id);
    return new RunView(context, loaded, graph, await runHistory(context.db, loaded.run, graph));
  }

  /** Whether the run's version has such a task. */
  hasTask(taskId: string): boolean {
    return this.#graph.tasks.has(taskId);
  }

  /**
   * Why these of the run's task instances are not running. Those of one task that run or are queued are told together; what only
   * waits for others of them is named last.
   */
  async whyNot(instances: readonly InstanceSnapshot[]): Promise<Reason[]> {
    const open = instances.filter(({ state }) => !isFinished(state));
    const reasons: Reason[] = [];
    const alone: InstanceSnapshot[] = [];
    const behind: InstanceSnapshot[] = [];
    const groups = new Map<string, InstanceSnapshot[]>();
    for (const ti of open.filter(({ state }) => !isOpen(state))) {
      const key = `${ti.state} ${ti.taskId}`;
      const group = groups.get(key);
      if (group) group.push(ti);
      else groups.set(key, [ti]);
    }
    for (const group of groups.values()) {
      const [first, ...others] = group;
      if (first === undefined) continue;
      if (others.length > 0 && (first.state === "running" || first.state === "queued"))
        reasons.push(await this.#together(first.state, group));
      else if (first.state === "scheduled") {
        alone.push(first);
        for (const ti of others) behind.push(ti);
      } else for (const ti of group) alone.push(ti);
    }
    for (const ti of open.filter(({ state }) => isOpen(state))) {
      const isBehind = alone.length >= TOLD || behind.length >= JUDGED || (await this.#waitsForOthers(ti));
      (isBehind ? behind : alone).push(ti);
    }
    for (const ti of alone.slice(0, TOLD)) reasons.push(...(await this.why(ti)));
    const rest = [...alone.slice(TOLD), ...behind];
    if (rest.length > 0) reasons.push({ code: "not_finished", ...this.#listed("To come after that: ", rest) });
    // Said once, not for each of them.
    const paused = reasons.filter(({ code }) => code === "paused").slice(0, 1);
    return [...paused, ...reasons.filter(({ code }) => code !== "paused")];
  }

  async #together(state: "running" | "queued", group: readonly InstanceSnapshot[]): Promise<Reason> {
    const { id = "", taskId = "" } = group[0] ?? {};
    const standing = state === "queued" ? (await taskStandings(this.#context.db, [id])).get(id) : undefined;
    if (standing?.agents === 0) {
      const words = `${group.length} task instances of ${taskId} wait for an agent, and ${noAgent(standing.queue)}: `;
      return { code: "no_agent", ...this.#listed(words, group) };
    }
    const words = state === "running" ? "are running" : "have their slots and wait for a worker";
    return { code: state, ...this.#listed(`${group.length} task instances of ${taskId} ${words}: `, group) };
  }

  #listed(words: string, instances: readonly InstanceSnapshot[]): Pick<Reason, "message" | "task_instances" | "more"> {
    const { shown, more } = named(instances);
    const names = shown.map((ti) => taskName({ task_id: ti.taskId, map_index: ti.mapIndex }));
    return {
      message: `${words}${listed(names, more)}.`,
      task_instances: shown.map((ti) => this.#named(ti)),
      ...(more === undefined ? {} : { more }),
    };
  }

  async why(ti: InstanceSnapshot): Promise<Reason[]> {
    const standing = (await taskStandings(this.#context.db, [ti.id])).get(ti.id);
    const name = taskName({ task_id: ti.taskId, map_index: ti.mapIndex });
    const itself = this.#named(ti);
    if (!standing) return [];
    const own = ownReason(name, { ...standing, state: ti.state });
    if (own && !isOpen(ti.state)) {
      if (isFinished(ti.state)) return [await this.#finished(ti, name, own)];
      return [{ ...own, task_instances: [itself] }];
    }
    const held = this.#run.dag_is_paused && heedsPause(this.#run) ? [dagPaused(this.#run.dag_id)] : [];
    const task = this.#graph.tasks.get(ti.taskId);
    if (!task) return held;
    if (ti.state === "scheduled") return [...held, ...(await this.#slots.whyNot(ti, task))];
    return [...held, ...(await this.#whyNotScheduled(ti, task, name, own))];
  }

  async #whyNotScheduled(ti: InstanceSnapshot, task: TaskNode, name: string, own: Reason | null): Promise<Reason[]> {
    const explained = await this.#explain(ti);
    if (explained === null) return [];
    const { judgement, past } = explained;
    const itself = this.#named(ti);
    switch (judgement.kind) {
      case "ready":
        return [
          {
            code: "being_decided",
            message: `Nothing holds ${name}: it is scheduled at once.`,
            task_instances: [itself],
          },
        ];
      case "becomes": {
        const message = `${name} will not run: it becomes ${judgement.state} at once.`;
        return [{ code: "left_out", message, task_instances: [itself] }];
      }
      case "blocked":
        switch (judgement.by) {
          case "waiting":
            return own ? [{ ...own, task_instances: [itself] }] : [];
          case "past":
            return past ? [await this.#heldByPast(name, past)] : [];
          case "mapped-dependency":
            return [this.#byUpstream(explained, "mapped_dependency", `${name} expands on what did not succeed:`)];
          case "trigger-rule":
            return [
              this.#byUpstream(explained, "trigger_rule", `${name} waits for its trigger rule ${task.triggerRule}:`),
            ];
        }
    }
  }

  async #heldByPast(name: string, { rule, taskIds }: PastHold): Promise<Reason> {
    const dag_id = this.#run.dag_id;
    const { id = 0, runId: run_id = "" } = this.#history.previous ?? {};
    const states = await statesOfTasks(this.#context.db, id, taskIds);
    const unsuccessful = states.filter(({ state }) => state !== "success" && state !== "skipped");
    const { shown, more } = named(unsuccessful);
    const there = shown.map((one) => `${taskName(one)} (${one.state ?? "not started"})`);
    const gone = taskIds.filter((taskId) => !states.some((one) => one.task_id === taskId));
    const names = listed([...there, ...gone.map((taskId) => `${taskId} (no task instance)`)], more);
    const why = rule === "depends_on_past" ? "depends on its past" : "waits for what came after it";
    return {
      code: rule,
      message: `${name} ${why} (${rule}): in run ${run_id} it is ${names}.`,
      dag_runs: [{ dag_id, run_id }],
      ...(shown.length === 0 ? {} : { task_instances: shown.map((one) => ({ dag_id, run_id, ...one })) }),
      ...(more === undefined ? {} : { more }),
    };
  }

  /** What is not finished is what is waited for; where all is, all of it. */
  #byUpstream({ upstream }: Explanation, code: "trigger_rule" | "mapped_dependency", words: string): Reason {
    const missing = upstream.filter(({ instances }) => instances.length === 0).map(({ taskId }) => taskId);
    const all = upstream.flatMap(({ instances }) => instances);
    const unfinished = all.filter(({ state }) => !isFinished(state));
    const counted = unfinished.length > 0 ? unfinished : all;
    const { shown, more } = named(counted);
    const names = shown.map(
      (one) => `${taskName({ task_id: one.taskId, map_index: one.mapIndex })} (${one.state ?? "not started"})`,
    );
    names.push(...missing.map((taskId) => `${taskId} (no task instance in this run)`));
    return {
      code,
      message: `${words} ${listed(names, more)}.`,
      task_instances: shown.map((one) => this.#named(one)),
      ...(more === undefined ? {} : { more }),
    };
  }

  async #finished(ti: InstanceSnapshot, name: string, own: Reason): Promise<Reason> {
    const itself = this.#named(ti);
    if (ti.state !== "upstream_failed" && ti.state !== "skipped") return { ...own, task_instances: [itself] };
    const explained = await this.#explain(ti);
    const guilty: readonly (TaskInstanceState | null)[] =
      ti.state === "skipped" ? ["skipped"] : ["failed", "upstream_failed"];
    const upstream = explained?.upstream.flatMap(({ instances }) => instances) ?? [];
    const { shown, more } = named(upstream.filter(({ state }) => guilty.includes(state)));
    const names = shown.map((one) => `${taskName({ task_id: one.taskId, map_index: one.mapIndex })} (${one.state})`);
    const by = explained?.skippedBy ? `${explained.skippedBy} chose to leave it out` : listed(names, more);
    return {
      ...own,
      message: `${name} did not run, it is ${ti.state}${by === "" ? "" : `: ${by}`}.`,
      task_instances: [itself, ...shown.map((one) => this.#named(one))],
    };
  }

  async #waitsForOthers(ti: InstanceSnapshot): Promise<boolean> {
    if (ti.state !== null) return false;
    const explained = await this.#explain(ti);
    if (explained?.judgement.kind !== "blocked" || explained.judgement.by !== "trigger-rule") return false;
    return explained.upstream.some(({ instances }) => instances.some(({ state }) => !isFinished(state)));
  }

  async #explain(ti: InstanceSnapshot): Promise<Explanation | null> {
    const ask = () => this.#memory.explain(ti.taskId, ti.mapIndex, this.#context.kit.clock.now());
    const first = ask();
    if (first === null || first.lengthsNeeded.length === 0) return first;
    const mapped = first.lengthsNeeded.filter((taskId) => {
      const task = this.#graph.tasks.get(taskId);
      return task !== undefined && isMapped(task);
    });
    this.#memory.setLengths(await mapLengths(this.#context.db, this.#run.id, first.lengthsNeeded, mapped));
    return ask();
  }

  #named({ taskId, mapIndex, state }: InstanceSnapshot): NamedTaskInstance {
    return { dag_id: this.#run.dag_id, run_id: this.#run.run_id, task_id: taskId, map_index: mapIndex, state };
  }
}

/** What the state alone says; null where it says nothing. */
function ownReason(name: string, standing: TaskStanding): Reason | null {
  const { state, wake_at: wakeAt, start_date: start, end_date: end, try_number: tries } = standing;
  const since = (at: typeof start) => (at === null ? {} : { since: at });
  switch (state) {
    case "running": {
      const where = standing.pid === null ? "" : ` (process ${standing.pid} on ${standing.hostname})`;
      return { code: state, message: `${name} is running${sinceText(start)}${where}.`, ...since(start) };
    }
    case "restarting":
      return { code: state, message: `${name} was cleared; its process is being ended.` };
    case "queued": {
      const from = standing.queued_dttm;
      if (standing.agents === 0) {
        const message = `${name} waits for an agent${sinceText(from)}: ${noAgent(standing.queue)}.`;
        return { code: "no_agent", message, ...since(from) };
      }
      const worker = standing.agents === null ? "a worker" : `an agent of the queue ${standing.queue}`;
      return {
        code: state,
        message: `${name} has its slots and waits for ${worker}${sinceText(from)}.`,
        ...since(from),
      };
    }
    case "up_for_retry":
    case "up_for_reschedule": {
      const what =
        state === "up_for_retry"
          ? `${name} failed try ${tries} of ${standing.max_tries + 1} and is tried again`
          : `${name} looks again`;
      return wakeAt === null
        ? { code: state, message: `${what}.` }
        : { code: state, message: `${what} at ${written(wakeAt)}.`, until: wakeAt };
    }
    case "deferred": {
      const { trigger_id: id, trigger_classpath: classpath, trigger_timeout: until, trigger_created: from } = standing;
      return {
        code: state,
        message:
          `${name} waits for its trigger${classpath === null ? "" : ` ${classpath}`}${sinceText(from)}` +
          `${until === null ? "" : `, until ${written(until)} at the latest`}.`,
        ...since(from),
        ...(until === null ? {} : { until }),
        ...(id === null || classpath === null ? {} : { trigger: { id, classpath } }),
      };
    }
    case "awaiting_input": {
      const { question, question_created: from, trigger_timeout: until } = standing;
      const assignees = jsonOf(standing.question_assignees);
      const asked = {
        subject: question ?? "",
        options: jsonOf(standing.question_options),
        ...(Array.isArray(assignees) && assignees.length > 0 ? { assignees } : {}),
      };
      return {
        code: state,
        message:
          `${name} waits for a person's answer${question === null ? "" : ` to “${question}”`}${sinceText(from)}` +
          `${until === null ? "" : `, until ${written(until)} at the latest`}.`,
        ...since(from),
        ...(until === null ? {} : { until }),
        ...(question === null ? {} : { question: asked }),
      };
    }
    case "success":
    case "failed":
    case "skipped":
    case "upstream_failed":
    case "removed": {
      const tried = tries > 0 && state === "failed" ? ` after try ${tries} of ${standing.max_tries + 1}` : "";
      const message = `${name} ended as ${state}${end === null ? "" : ` at ${written(end)}`}${tried}.`;
      return { code: "finished", message, ...since(end) };
    }
    case "scheduled":
    case null:
      return null;
  }
}

const noAgent = (queue: string): string => `none is connected that serves the queue ${queue}`;
const sinceText = (at: TaskStanding["start_date"]): string => (at === null ? "" : ` since ${written(at)}`);
const jsonOf = (text: JsonText | null): unknown => (text === null ? null : fromJsonText(text));
