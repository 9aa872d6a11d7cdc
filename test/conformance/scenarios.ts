import { assetScenarioOf, type AssetStep } from "./asset-scenarios.ts";

/** What is done with a DAG after it has been unpaused. Without an entry: one run, `r1`, until it has ended. */
export type Step =
  | {
      kind: "trigger";
      runId: string;
      conf?: Record<string, unknown>;
      logicalDate?: string;
      /** Do not wait for its end: it has none, or another step follows first. */
      stuck?: boolean;
    }
  /** Scheduled runs: wait until this many have ended; `stuck`: others never will. */
  | { kind: "runs"; count: number; stuck?: boolean }
  | { kind: "clear"; body: Record<string, unknown>; stuck?: boolean }
  | {
      kind: "mark";
      runId: string;
      taskId: string;
      mapIndex?: number;
      state: "success" | "failed" | "skipped";
      options?: Record<string, unknown>;
    }
  | { kind: "mark-run"; runId: string; state: "success" | "failed"; stuck?: boolean }
  | { kind: "clear-run"; runId: string; body: Record<string, unknown> }
  | { kind: "until-state"; runId: string; taskId: string; state: string }
  | { kind: "new-version"; file: string }
  | AssetStep;

const trigger = (runId: string, more: Omit<Extract<Step, { kind: "trigger" }>, "kind" | "runId"> = {}): Step => ({
  kind: "trigger",
  runId,
  ...more,
});
const stuck: Step[] = [trigger("r1", { stuck: true })];
const clear = (body: Record<string, unknown>): Step => ({ kind: "clear", body: { dag_run_id: "r1", ...body } });
const mark = (
  taskId: string,
  state: "success" | "failed" | "skipped",
  more: { mapIndex?: number; options?: Record<string, unknown> } = {},
): Step => ({ kind: "mark", runId: "r1", taskId, state, ...more });
const runs = (count: number): Step[] => [{ kind: "runs", count }];
const runsThenStuck = (count: number): Step[] => [{ kind: "runs", count, stuck: true }];
const day = (number: number): string => `2024-01-0${number}T00:00:00Z`;

const SCENARIOS: Record<string, Step[]> = {
  // Runs of their own accord, or of another DAG's.
  child: [],
  past_all_well: runs(3),
  past_skips_count: runs(3),
  past_second_fails: runsThenStuck(2),
  past_upstream_failed: runsThenStuck(1),
  past_wait_for_downstream: runsThenStuck(2),
  past_wait_for_downstream_well: runs(3),
  past_first_not_ignored: [],
  past_mapped: runsThenStuck(2),
  past_one_active_run: runs(3),
  past_waits_before_skipping: runs(3),
  latest_only_scheduled: runs(2),
  templates_dates: runs(1),
  xcom_between_runs: runs(3),
  external_upstream: runs(1),
  external_sensors: runs(1),
  limit_runs: runs(5),
  auto_pause_scheduled: runs(2),
  schedule_daily: runs(4),
  schedule_hourly: runs(7),
  schedule_delta: runs(5),
  schedule_relative: runs(3),
  schedule_once: runs(1),
  schedule_cron_trigger: runs(3),
  schedule_cron_trigger_interval: runs(3),
  schedule_cron_interval: runs(3),
  schedule_delta_trigger: runs(4),
  schedule_delta_interval: runs(4),
  schedule_many_crons: runs(6),
  schedule_dst_cron: runs(2),
  schedule_dst_trigger: runs(2),
  schedule_dst_hours: runs(8),
  schedule_autumn: runs(3),

  past_manual_runs: [
    trigger("r1", { logicalDate: day(1), conf: { outcome: "ok" } }),
    trigger("r2", { logicalDate: day(2), conf: { outcome: "fail" } }),
    trigger("r3", { logicalDate: day(3), conf: { outcome: "ok" }, stuck: true }),
  ],
  past_manual_without_dates: [trigger("r1"), trigger("r2")],
  params_merge: [trigger("r1"), trigger("r2", { conf: { a: 9, b: "y", unknown: [1] } })],
  params_invalid: [trigger("r1", { conf: { n: 3 } }), trigger("r2", { conf: { n: 7 } })],
  conf: [trigger("r1"), trigger("r2", { conf: { a: "given", deep: { n: [1, 2.5, null] } } })],
  templates: [trigger("r1"), trigger("r2", { conf: { y: "why" } })],
  auto_pause: [
    trigger("r1", { conf: { outcome: "fail" } }),
    trigger("r2", { conf: { outcome: "ok" } }),
    trigger("r3", { conf: { outcome: "fail" } }),
    trigger("r4", { conf: { outcome: "fail" } }),
  ],
  pool_unknown: stuck,
  pool_too_small: stuck,
  run_future_tasks: [trigger("r1", { logicalDate: "2024-02-01T00:00:00Z" }), trigger("r2", { stuck: true })],

  clear_failed: [trigger("r1"), clear({ only_failed: true })],
  clear_all: [trigger("r1"), clear({})],
  clear_one_index: [trigger("r1"), clear({ task_ids: [["m", 1]] })],
  clear_grows: [trigger("r1"), clear({})],
  clear_shrinks: [trigger("r1"), clear({})],
  clear_group: [trigger("r1"), clear({})],
  clear_branch: [trigger("r1"), clear({})],
  clear_skipped: [trigger("r1"), clear({ task_ids: ["b"] })],
  setup_cleared: [trigger("r1"), clear({ task_ids: ["w"] })],
  mark_failed_as_success: [trigger("r1"), mark("a", "success"), clear({ task_ids: ["b"], include_downstream: true })],
  mark_success_as_failed: [trigger("r1"), mark("a", "failed", { options: { include_downstream: false } })],
  mark_run: [
    trigger("r1", { stuck: true }),
    { kind: "until-state", runId: "r1", taskId: "waits", state: "scheduled" },
    { kind: "mark-run", runId: "r1", state: "failed" },
  ],
  latest_only_mapped: runs(1),
  past_first_ignored: runs(3),
  past_starts_later: runs(3),
  past_ends_earlier: runs(3),
  past_mapped_well: runs(3),
  past_wait_for_downstream_mapped: runs(3),
  past_wait_for_downstream_skipped: runs(3),
  past_and_branches: runs(3),
  past_with_setup: runs(3),
  past_unlocked: [
    trigger("r1", { logicalDate: day(1), conf: { outcome: "fail" } }),
    trigger("r2", { logicalDate: day(2), stuck: true }),
    mark("a", "success"),
  ],
  past_cleared: [
    trigger("r1", { logicalDate: day(1) }),
    trigger("r2", { logicalDate: day(2), stuck: true }),
    clear({ only_failed: true }),
  ],
  limit_across_runs: runs(4),
  limit_unlocked: [
    trigger("r1", { stuck: true }),
    { kind: "until-state", runId: "r1", taskId: "waits", state: "scheduled" },
    trigger("r2", { stuck: true }),
    { kind: "mark-run", runId: "r1", state: "success", stuck: true },
    { kind: "until-state", runId: "r2", taskId: "waits", state: "scheduled" },
    { kind: "mark-run", runId: "r2", state: "failed" },
  ],
  branch_of_dates: [
    trigger("r1", { logicalDate: "2024-06-05T12:00:00Z" }),
    trigger("r2", { logicalDate: "2025-06-07T12:00:00Z" }),
  ],
  sensors_of_times: [trigger("r1", { logicalDate: "2024-06-05T12:00:00Z" })],
  params_required: [],
  run_types_scheduled_only: runs(1),
  run_facts: [trigger("r1"), trigger("r2", { logicalDate: day(2) })],
  previous_runs: runs(3),
  external_more: runs(1),
  never_unpaused: [],
  marker_child: [],
  marker_parent: [
    ...runs(1),
    {
      kind: "clear",
      body: { dag_run_id: `scheduled__${day(1).replace("Z", "+00:00")}`, include_downstream: true, task_ids: ["a"] },
    },
  ],

  clear_to_zero: [trigger("r1"), clear({})],
  clear_from_zero: [trigger("r1"), clear({})],
  clear_up_and_down: [trigger("r1"), clear({}), clear({})],
  clear_the_same: [trigger("r1"), clear({})],
  clear_shrinks_below: [trigger("r1"), clear({})],
  clear_shrinks_rules: [trigger("r1"), clear({})],
  clear_group_grows: [trigger("r1"), clear({})],
  clear_group_index: [trigger("r1"), clear({ task_ids: [["group.show", 1]], include_downstream: true })],
  clear_failed_index: [trigger("r1"), clear({ task_ids: [["some", 1]], include_downstream: true })],
  clear_failed_index_alone: [trigger("r1"), clear({ task_ids: [["some", 1]] })],
  clear_two_indexes: [trigger("r1"), clear({ task_ids: [["some", 0], ["some", 1], "strict"] })],
  clear_index_with_downstream: [trigger("r1"), clear({ task_ids: [["some", 2]], include_downstream: true })],
  clear_index_only_failed: [trigger("r1"), clear({ only_failed: true })],
  clear_source_alone: [trigger("r1"), clear({ task_ids: ["of_length"] })],
  clear_mapped_alone: [trigger("r1"), clear({ task_ids: ["show"] })],
  clear_short_circuit: [trigger("r1"), clear({ task_ids: ["opens"] })],
  clear_retried: [trigger("r1"), clear({})],
  clear_exhausted: [trigger("r1"), clear({ only_failed: true })],
  clear_upstream: [trigger("r1"), clear({ task_ids: ["c"], include_upstream: true, include_downstream: true })],
  clear_teardown: [trigger("r1"), clear({ only_failed: true })],
  clear_past_and_future: [
    trigger("r1", { logicalDate: day(1) }),
    trigger("r2", { logicalDate: day(2) }),
    trigger("r3", { logicalDate: day(3) }),
    clear({ dag_run_id: "r2", task_ids: ["a"], include_past: true }),
    clear({ dag_run_id: "r2", task_ids: ["a"], include_future: true }),
  ],
  clear_run: [trigger("r1"), { kind: "clear-run", runId: "r1", body: {} }],
  clear_run_only_failed: [trigger("r1"), { kind: "clear-run", runId: "r1", body: { only_failed: true } }],
  clear_run_of_skips: [trigger("r1"), { kind: "clear-run", runId: "r1", body: {} }],
  mark_index: [trigger("r1"), mark("some", "success", { mapIndex: 1 }), clear({ task_ids: ["after"] })],
  mark_whole_mapped: [trigger("r1"), mark("some", "success"), clear({ task_ids: ["after"] })],
  mark_skipped: [trigger("r1"), mark("a", "skipped"), clear({ task_ids: ["b", "c"] })],
  mark_with_downstream: [trigger("r1"), mark("a", "success", { options: { include_downstream: true } })],
  mark_waiting: [
    trigger("r1", { stuck: true }),
    { kind: "until-state", runId: "r1", taskId: "waits", state: "scheduled" },
    mark("waits", "success"),
  ],
  mark_run_success: [
    trigger("r1", { stuck: true }),
    { kind: "until-state", runId: "r1", taskId: "waits", state: "scheduled" },
    { kind: "mark-run", runId: "r1", state: "success" },
  ],
  mark_upstream: [trigger("r1"), mark("c", "success", { options: { include_upstream: true } })],
  mark_in_time: [
    trigger("r1", { logicalDate: day(1) }),
    trigger("r2", { logicalDate: day(2) }),
    { ...mark("a", "success", { options: { include_future: true } }) },
  ],
  clear_keeps_run: [trigger("r1"), clear({ only_failed: true, reset_dag_runs: false })],
  evolves: [
    trigger("r1"),
    { kind: "new-version", file: "evolves.v2.py" },
    trigger("r2"),
    clear({ task_ids: ["b"] }),
    clear({ run_on_latest_version: true }),
  ],
};

export function scenarioOf(dagId: string): readonly Step[] {
  return SCENARIOS[dagId] ?? assetScenarioOf(dagId) ?? [trigger("r1")];
}
