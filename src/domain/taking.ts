import type { DecidedState, Decision, Expansion, InstanceSnapshot, Transition } from "./decision.ts";
import type { PlannedTask } from "./run-plan.ts";
import type { Row } from "./task-rows.ts";

/** A decision while it is being taken. */
export class Taking {
  readonly transitions: Transition[] = [];
  readonly #moving: Row[] = [];
  readonly #expansions: { expansion: Omit<Expansion, "create">; made: readonly Row[] }[] = [];

  move(row: Row, to: DecidedState): void {
    row.moving = to;
    this.#moving.push(row);
    const { id, task, mapIndex, state, tryNumber, isNew } = row;
    this.transitions.push({ id, taskId: task.node.taskId, mapIndex, from: state, to, tryNumber, isNew });
  }

  /** Its task left the DAG. */
  removeOrphan({ id, taskId, mapIndex, state, tryNumber }: InstanceSnapshot): void {
    this.transitions.push({ id, taskId, mapIndex, from: state, to: "removed", tryNumber, isNew: false });
  }

  /** What moved since the last time. */
  settle(): Row[] {
    return this.#moving.splice(0);
  }

  expanded(task: PlannedTask, unexpanded: Expansion["unexpanded"], made: readonly Row[]): void {
    this.#expansions.push({ expansion: { taskId: task.node.taskId, unexpanded }, made });
  }

  finish(state: Pick<Decision, "runState" | "reason">, lengthsNeeded: string[]): Decision {
    const expansions = this.#expansions.map(({ expansion, made }) => ({
      ...expansion,
      create: made.map((row) => {
        row.isNew = false;
        return {
          id: row.id,
          mapIndex: row.mapIndex,
          state: row.state as DecidedState | null,
          tryNumber: row.tryNumber,
        };
      }),
    }));
    return { expansions, transitions: this.transitions, ...state, lengthsNeeded };
  }
}
