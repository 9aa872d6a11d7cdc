import fc from "fast-check";
import type { JsonValue } from "../../src/kit/json-text.ts";
import type { DagGraph } from "../../src/domain/dag-graph.ts";
import { parseSerializedDag } from "../../src/domain/serialized-dag.ts";
import { TRIGGER_RULES } from "../../src/domain/states.ts";
import { EMPTY, mappedOver } from "../../src/domain/test-support/graphs.ts";

/** A random DAG and what each of its task instances does, whenever it is asked. */
export interface RandomDag {
  serialized: object;
  graph: DagGraph;
  /** What a try comes to. */
  outcome: (taskId: string, mapIndex: number, tryNumber: number) => "success" | "failed" | "skipped" | "up_for_retry";
  /** How many values a task that others are mapped over returns. */
  length: (taskId: string) => number;
}

interface Unit {
  kind: "plain" | "empty" | "mapped" | "group" | "scope";
  rule: string;
  otherRule: string;
  above: number[];
  /** Mapped over what an earlier task returned, or over a literal. */
  overXCom: boolean;
  length: number;
  outcomes: string[];
}

/** Outcomes and trigger rules that may meet. `mixed` may end differently when upstreams end in another order, as in Airflow. */
const FLAVOURS = {
  failing: {
    outcomes: ["success", "success", "success", "failed", "retry"],
    rules: ["all_success", "all_success", "all_done", "none_failed", "always", "one_success"],
  },
  skipping: {
    outcomes: ["success", "success", "success", "skipped", "retry"],
    rules: TRIGGER_RULES.filter((rule) => rule !== "all_done_setup_success"),
  },
  mixed: {
    outcomes: ["success", "success", "failed", "skipped", "retry"],
    rules: TRIGGER_RULES.filter((rule) => rule !== "all_done_setup_success"),
  },
} as const;

export function randomDag(flavour: keyof typeof FLAVOURS): fc.Arbitrary<RandomDag> {
  const { outcomes, rules } = FLAVOURS[flavour];
  const unit: fc.Arbitrary<Unit> = fc.record({
    kind: fc.constantFrom("plain", "plain", "empty", "mapped", "mapped", "group", "scope"),
    rule: fc.constantFrom<string[]>(...rules),
    otherRule: fc.constantFrom<string[]>(...rules),
    above: fc.array(fc.nat(20), { maxLength: 3 }),
    overXCom: fc.boolean(),
    length: flavour === "failing" ? fc.integer({ min: 1, max: 3 }) : fc.nat(3),
    outcomes: fc.array(fc.constantFrom<string[]>(...outcomes), { minLength: 6, maxLength: 6 }),
  });
  return fc.array(unit, { minLength: 2, maxLength: 8 }).map((units) => build(units));
}

type Fields = Record<string, JsonValue>;

function build(units: readonly Unit[]): RandomDag {
  const tasks = new Map<string, Fields>();
  const edges = new Map<string, Set<string>>();
  const children: Record<string, JsonValue> = {};
  const unitOf = new Map<string, Unit>();
  /** Where what is below a unit begins. */
  const tails: string[] = [];
  const sources: string[] = [];
  const add = (taskId: string, unit: Unit, fields: Fields): string => {
    tasks.set(taskId, { retries: 1, ...fields });
    unitOf.set(taskId, unit);
    edges.set(taskId, new Set());
    return taskId;
  };
  const addAtRoot = (taskId: string, unit: Unit, fields: Fields): string => {
    children[taskId] = ["operator", taskId];
    return add(taskId, unit, fields);
  };
  const join = (above: string, below: string): void => void edges.get(above)?.add(below);

  for (const [number, unit] of units.entries()) {
    const id = `t${number}`;
    const isMapped = unit.kind === "mapped" || unit.kind === "group";
    const source = isMapped && unit.overXCom ? sources[unit.length % Math.max(1, sources.length)] : undefined;
    // What is decided before the list is there fails for that: another race, so that nothing else is upstream then.
    const others =
      source === undefined ? unit.above.map((other) => tails[other % Math.max(1, tails.length)]) : [source];
    const above = [...new Set(others)].filter((id) => id !== undefined);
    const rule = { trigger_rule: source !== undefined && unit.rule === "always" ? "all_done" : unit.rule };
    let heads = [id];
    let tail = id;
    switch (unit.kind) {
      case "plain":
        addAtRoot(id, unit, rule);
        sources.push(id);
        break;
      case "empty":
        addAtRoot(id, unit, { ...EMPTY, ...rule });
        break;
      case "mapped":
        addAtRoot(id, unit, mappedOver(source ?? unit.length, rule));
        break;
      case "group": {
        const first = add(`${id}.a`, unit, rule);
        const second = add(`${id}.b`, unit, { trigger_rule: unit.otherRule });
        join(first, second);
        const { expand_input: expandInput = null } = mappedOver(source ?? unit.length);
        const inner = { a: ["operator", first], b: ["operator", second] };
        children[id] = ["taskgroup", { _group_id: id, is_mapped: true, expand_input: expandInput, children: inner }];
        heads = [first];
        tail = second;
        break;
      }
      case "scope": {
        const setup = addAtRoot(`${id}s`, unit, { is_setup: true, ...rule });
        const work = addAtRoot(`${id}w`, unit, {});
        const more = addAtRoot(`${id}v`, unit, { trigger_rule: unit.otherRule });
        const teardown = addAtRoot(`${id}d`, unit, {
          is_teardown: true,
          trigger_rule: "all_done_setup_success",
          _on_failure_fail_dagrun: unit.overXCom,
        });
        for (const [from, to] of [
          [setup, work],
          [work, more],
          [more, teardown],
          [setup, teardown],
        ] as const) {
          join(from, to);
        }
        heads = [setup];
        tail = more;
        break;
      }
    }
    for (const head of heads) for (const other of above) join(other, head);
    tails.push(tail);
  }
  const serialized = {
    __version: 3,
    dag: {
      dag_id: "random",
      fileloc: "random.py",
      timezone: "UTC",
      timetable: { __type: "airflow.timetables.simple.NullTimetable", __var: {} },
      task_group: { _group_id: null, children },
      tasks: [...tasks].map(([taskId, fields]) => ({
        __type: "operator",
        __var: {
          task_id: taskId,
          task_type: "PythonOperator",
          ...fields,
          downstream_task_ids: [...(edges.get(taskId) ?? [])],
        },
      })),
    },
  };
  return {
    serialized,
    graph: parseSerializedDag(serialized),
    outcome: (taskId, mapIndex, tryNumber) => {
      const outcomes = unitOf.get(taskId)?.outcomes ?? [];
      const own =
        outcomes[(Math.max(0, mapIndex) + taskId.length + taskId.charCodeAt(taskId.length - 1)) % outcomes.length];
      if (own === "retry") return tryNumber === 1 ? "up_for_retry" : "success";
      return own === "failed" || own === "skipped" ? own : "success";
    },
    length: (taskId) => unitOf.get(taskId)?.length ?? 0,
  };
}
