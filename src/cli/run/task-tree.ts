import { isFinished, type TaskInstanceState } from "../../domain/states.ts";
import { paint, type Terminal } from "../terminal-progress.ts";

/** A row of the DAG's grid: a task, or a group with what is in it. */
export interface TreeNode {
  id: string;
  label: string;
  children?: TreeNode[] | null;
  is_mapped?: boolean | null;
}

/** A task instance as the server tells of it. */
export interface TaskNow {
  task_id: string;
  map_index: number;
  state: TaskInstanceState | null;
  try_number: number;
  start_date: string | null;
  end_date: string | null;
}

const FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";

/** Mark and colour of each state; a running one moves. */
const MARKS: Readonly<Record<TaskInstanceState | "none", readonly [mark: string, colour: string]>> = {
  success: ["✓", "32"],
  failed: ["✗", "31"],
  upstream_failed: ["✗", "33"],
  skipped: ["↷", "2"],
  removed: ["–", "2"],
  running: ["●", "36"],
  restarting: ["↻", "33"],
  up_for_retry: ["↻", "33"],
  up_for_reschedule: ["◷", "36"],
  deferred: ["◷", "36"],
  awaiting_input: ["?", "35"],
  queued: ["◌", "2"],
  scheduled: ["◌", "2"],
  none: ["○", "2"],
};

const NEVER_RAN: ReadonlySet<TaskInstanceState> = new Set(["upstream_failed", "skipped", "removed"]);

/** Of the instances of one task, the state that says most. */
const WEIGHTIEST: readonly (TaskInstanceState | null)[] = [
  ...(["running", "up_for_retry", "restarting", "awaiting_input", "deferred", "up_for_reschedule"] as const),
  ...(["queued", "scheduled", null, "failed", "upstream_failed", "success", "skipped", "removed"] as const),
];

/** A run's tasks as lines of a terminal. */
export class TaskTree {
  readonly #terminal: Terminal;
  #nodes: readonly TreeNode[] = [];
  readonly #tasks = new Map<string, Map<number, TaskNow>>();

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  set nodes(nodes: readonly TreeNode[]) {
    this.#nodes = nodes;
  }

  take(tasks: readonly TaskNow[]): void {
    for (const task of tasks) {
      const instances = this.#tasks.get(task.task_id) ?? new Map<number, TaskNow>();
      // The place of a mapped task's instances, before there are any.
      if (task.map_index >= 0) instances.delete(-1);
      instances.set(task.map_index, task);
      this.#tasks.set(task.task_id, instances);
    }
  }

  get instances(): TaskNow[] {
    return [...this.#tasks.values()].flatMap((instances) => [...instances.values()]);
  }

  /** The whole tree in at most `most` lines: what has ended well goes first where it is too long. */
  lines(most: number, nowMs: number): string[] {
    const rows = [...this.#rows(this.#nodes, 0)];
    const known = new Set(rows.map(({ id }) => id));
    // A mount of a run whose structure is not known yet.
    for (const id of this.#tasks.keys()) if (!known.has(id)) rows.push({ id, label: id, depth: 0, isGroup: false });
    const shown = rows.length <= most ? rows : rows.filter(({ id, isGroup }) => !isGroup && this.#isOpen(id));
    const lines = shown.slice(0, rows.length <= most ? most : most - 1).map((row) => this.#line(row, nowMs));
    if (rows.length > most) lines.push(paint(this.#terminal, "2", `  … ${rows.length - lines.length} more`));
    return lines;
  }

  /** One line of a task instance that has ended. */
  ended(task: TaskNow): string {
    const index = task.map_index < 0 ? "" : `[${task.map_index}]`;
    return `  ${this.#mark(task.state, 0)} ${(task.task_id + index).padEnd(34)} ${this.#word(task)}`;
  }

  #isOpen(id: string): boolean {
    const state = this.#stateOf([...(this.#tasks.get(id)?.values() ?? [])]);
    return !isFinished(state) || state === "failed" || state === "upstream_failed";
  }

  *#rows(nodes: readonly TreeNode[], depth: number): Generator<Row> {
    for (const { id, label, children } of nodes) {
      const isGroup = Boolean(children) && !this.#tasks.has(id);
      yield { id, label, depth, isGroup };
      if (children && isGroup) yield* this.#rows(children, depth + 1);
    }
  }

  #line({ id, label, depth, isGroup }: Row, nowMs: number): string {
    const indent = "  ".repeat(depth + 1);
    if (isGroup) return `${indent}${paint(this.#terminal, "1", label)}`;
    const instances = [...(this.#tasks.get(id)?.values() ?? [])];
    const state = this.#stateOf(instances);
    const mapped = instances.filter((task) => task.map_index >= 0);
    const done = mapped.filter((task) => isFinished(task.state)).length;
    const name = mapped.length > 0 ? `${label} [${done}/${mapped.length}]` : label;
    const words = instances.length === 1 ? this.#word(instances[0] as TaskNow, nowMs) : this.#span(instances, nowMs);
    return `${indent}${this.#mark(state, nowMs)} ${name.padEnd(Math.max(0, 36 - 2 * depth))} ${words}`.trimEnd();
  }

  #stateOf(instances: readonly TaskNow[]): TaskInstanceState | null {
    const states = new Set(instances.map(({ state }) => state));
    return WEIGHTIEST.find((state) => states.has(state)) ?? null;
  }

  #mark(state: TaskInstanceState | null, nowMs: number): string {
    const [mark, colour] = MARKS[state ?? "none"];
    const moving = state === "running" && nowMs > 0 ? FRAMES[Math.floor(nowMs / 100) % FRAMES.length] : undefined;
    return paint(this.#terminal, colour, moving ?? mark);
  }

  #word(task: TaskNow, nowMs?: number): string {
    const { state, try_number: tries } = task;
    const words = [
      ...(state === "success" || state === "running" || state === null ? [] : [state.replaceAll("_", " ")]),
      ...(tries > 1 ? [`try ${tries}`] : []),
      ...(state !== null && NEVER_RAN.has(state) ? [] : timeOf([task], nowMs)),
    ];
    return paint(this.#terminal, "2", words.join(", "));
  }

  #span(instances: readonly TaskNow[], nowMs: number): string {
    const failed = instances.filter(({ state }) => state === "failed").length;
    const words = [...(failed > 0 ? [`${failed} failed`] : []), ...timeOf(instances, nowMs)];
    return paint(this.#terminal, "2", words.join(", "));
  }
}

interface Row {
  id: string;
  label: string;
  depth: number;
  isGroup: boolean;
}

/** From the first start to the last end, or to now. */
function timeOf(tasks: readonly TaskNow[], nowMs?: number): string[] {
  const starts = tasks.flatMap((task) => (task.start_date === null ? [] : [Date.parse(task.start_date)]));
  const isOpen = tasks.some((task) => task.start_date !== null && task.end_date === null);
  const ends = tasks.flatMap((task) => (task.end_date === null ? [] : [Date.parse(task.end_date)]));
  const end = isOpen ? nowMs : Math.max(...ends);
  if (starts.length === 0 || end === undefined || !Number.isFinite(end)) return [];
  return [`${Math.max(0, (end - Math.min(...starts)) / 1000).toFixed(2)} s`];
}
