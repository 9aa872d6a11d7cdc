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
  | { kind: "mark-run"; runId: string; state: "success" | "failed" }
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
  mark_failed_as_success: [
    trigger("r1"),
    { kind: "mark", runId: "r1", taskId: "a", state: "success" },
    clear({ task_ids: ["b"], include_downstream: true }),
  ],
  mark_success_as_failed: [
    trigger("r1"),
    { kind: "mark", runId: "r1", taskId: "a", state: "failed", options: { include_downstream: false } },
  ],
  mark_run: [
    trigger("r1", { stuck: true }),
    { kind: "until-state", runId: "r1", taskId: "waits", state: "scheduled" },
    { kind: "mark-run", runId: "r1", state: "failed" },
  ],
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
