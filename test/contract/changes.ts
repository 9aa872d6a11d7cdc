import type { Call } from "./contract.ts";

const DAG = "/api/v2/dags/{dag_id}";
const RUN = `${DAG}/dagRuns/{dag_run_id}`;
const TASK = `${RUN}/taskInstances/{task_id}`;
const GROUP = `${RUN}/taskGroupInstances/{group_id}`;
const CONNECTION = { connection_id: "changed", conn_type: "http", host: "nowhere", port: 80, extra: '{"a": 1}' };
const POOL = { name: "changed", slots: 1, description: "one", include_deferred: true };
const VARIABLE = { key: "changed", value: { a: 1 }, description: "one" };
const ASKS = { dag_id: "contract_asks", dag_run_id: "asks", task_id: "ask" };
const BACKFILL = {
  dag_id: "contract",
  from_date: "2026-02-01T00:00:00Z",
  to_date: "2026-03-30T00:00:00Z",
  max_active_runs: 1,
};

/** Creates, updates, fails to delete for a bad entity and deletes: each answers 200 and says what became of each. */
const bulk = (entity: Record<string, unknown>, key: string): Call => ({
  body: {
    actions: [
      { action: "create", entities: [{ ...entity, [key]: "in_bulk" }], action_on_existence: "fail" },
      { action: "create", entities: [{ ...entity, [key]: "in_bulk" }], action_on_existence: "fail" },
      { action: "update", entities: [{ ...entity, [key]: "in_bulk" }], action_on_non_existence: "fail" },
      { action: "delete", entities: ["in_bulk", "not there"], action_on_non_existence: "skip" },
    ],
  },
});

/** Every operation that changes something, in an order in which each can succeed: its name, its call, and the status. */
export const CHANGES: readonly (readonly [string, Call, number])[] = [
  ["POST /auth/token", { body: { username: "nobody", password: "wrong" } }, 401],
  ["POST /auth/token/cli", { body: { username: "nobody", password: "wrong" } }, 401],
  ["POST /ui/auth/token", { body: { token_type: "cli" } }, 200],

  ["POST /api/v2/connections", { body: CONNECTION }, 201],
  ["POST /api/v2/connections", { body: CONNECTION }, 409],
  [
    "PATCH /api/v2/connections/{connection_id}",
    { path: { connection_id: "changed" }, body: { ...CONNECTION, host: "there" }, query: { update_mask: ["host"] } },
    200,
  ],
  ["PATCH /api/v2/connections", bulk(CONNECTION, "connection_id"), 200],
  ["POST /api/v2/connections/test", { body: { connection_id: "tested", conn_type: "sqlite" } }, 200],
  ["POST /api/v2/connections/enqueue-test", { body: { connection_id: "tested", conn_type: "sqlite" } }, 202],
  ["POST /api/v2/connections/defaults", {}, 204],
  ["DELETE /api/v2/connections/{connection_id}", { path: { connection_id: "changed" } }, 204],
  ["DELETE /api/v2/connections/{connection_id}", { path: { connection_id: "changed" } }, 404],

  ["POST /api/v2/pools", { body: POOL }, 201],
  ["POST /api/v2/pools", { body: POOL }, 409],
  [
    "PATCH /api/v2/pools/{pool_name}",
    { path: { pool_name: "changed" }, body: { ...POOL, pool: "changed", slots: 3, name: undefined } },
    200,
  ],
  ["PATCH /api/v2/pools", bulk(POOL, "name"), 200],
  ["DELETE /api/v2/pools/{pool_name}", { path: { pool_name: "changed" } }, 204],
  ["DELETE /api/v2/pools/{pool_name}", { path: { pool_name: "default_pool" } }, 400],

  ["POST /api/v2/variables", { body: VARIABLE }, 201],
  ["POST /api/v2/variables", { body: VARIABLE }, 409],
  [
    "PATCH /api/v2/variables/{variable_key}",
    { path: { variable_key: "changed" }, body: { ...VARIABLE, value: [1.5] } },
    200,
  ],
  ["PATCH /api/v2/variables", bulk(VARIABLE, "key"), 200],
  ["DELETE /api/v2/variables/{variable_key}", { path: { variable_key: "changed" } }, 204],
  ["DELETE /api/v2/variables/{variable_key}", { path: { variable_key: "changed" } }, 404],

  ["PATCH /api/v2/dags", { query: { dag_id_pattern: "contract_t" }, body: { is_paused: false } }, 200],
  ["PATCH /api/v2/dags/{dag_id}", { body: { is_paused: false }, query: { update_mask: ["is_paused"] } }, 200],
  ["POST /api/v2/dags/{dag_id}/favorite", {}, 204],
  ["POST /api/v2/dags/{dag_id}/unfavorite", {}, 204],
  ["PUT /api/v2/parseDagFile/{file_token}", {}, 201],

  ["PUT /api/v2/assets/{asset_id}/state-store/{key}", { body: { value: [1, "two"] } }, 204],
  ["DELETE /api/v2/assets/{asset_id}/state-store/{key}", {}, 204],
  ["DELETE /api/v2/assets/{asset_id}/state-store", {}, 204],
  [
    "PUT /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key}",
    { body: { value: 1, expires_at: null } },
    204,
  ],
  [`PATCH ${TASK}/state-store/{key}`, { body: { value: 2.5 } }, 200],
  [`DELETE ${TASK}/state-store/{key}`, {}, 204],
  [`DELETE ${TASK}/state-store`, {}, 204],

  [`POST ${TASK}/xcomEntries`, { body: { key: "made", value: { a: [1, 2.5] } } }, 201],
  [`POST ${TASK}/xcomEntries`, { body: { key: "made", value: 1 } }, 409],
  [`PATCH ${TASK}/xcomEntries/{xcom_key}`, { path: { xcom_key: "made" }, body: { value: "new" } }, 200],
  [`DELETE ${TASK}/xcomEntries/{xcom_key}`, { path: { xcom_key: "made" } }, 204],

  [
    `POST ${DAG}/dagRuns/list`,
    { path: { dag_id: "~" }, body: { dag_ids: ["contract"], states: ["success", null], order_by: "-run_after" } },
    200,
  ],
  [
    `POST ${RUN}/taskInstances/list`,
    { path: { dag_id: "~", dag_run_id: "~" }, body: { state: ["success", null], page_limit: 3 } },
    200,
  ],
  [`PATCH ${RUN}`, { body: { note: "changed", state: "success" } }, 200],
  [
    `PATCH ${DAG}/dagRuns`,
    {
      body: {
        actions: [
          {
            action: "update",
            entities: [
              { dag_run_id: "full", note: "in bulk" },
              { dag_run_id: "none", note: "x" },
            ],
          },
        ],
      },
    },
    200,
  ],
  [`PATCH ${TASK}/dry_run`, { body: { new_state: "failed", include_downstream: true } }, 200],
  [`PATCH ${TASK}/{map_index}/dry_run`, { body: { new_state: "failed" } }, 200],
  [`PATCH ${TASK}`, { body: { note: "noted" } }, 200],
  [`PATCH ${TASK}/{map_index}`, { body: { new_state: "skipped", note: "done" } }, 200],
  [`PATCH ${TASK}/{map_index}`, { path: { map_index: 99 }, body: { new_state: "success" } }, 404],
  [
    `PATCH ${RUN}/taskInstances`,
    { body: { actions: [{ action: "update", entities: [{ task_id: "numbers", new_state: "success" }] }] } },
    200,
  ],
  [`PATCH ${GROUP}/dry_run`, { body: { new_state: "success" } }, 200],
  [`PATCH ${GROUP}`, { body: { new_state: "failed" } }, 200],
  [
    `PATCH ${TASK}/{map_index}/hitlDetails`,
    { path: ASKS, body: { chosen_options: ["a"], params_input: { n: 2 } } },
    200,
  ],
  [
    `PATCH ${TASK}/{map_index}/hitlDetails`,
    { path: ASKS, body: { chosen_options: ["a"], params_input: { n: 2 } } },
    409,
  ],

  [`POST ${DAG}/clearTaskInstances`, { body: { dag_run_id: "bad", only_failed: true, dry_run: true } }, 200],
  [
    `POST ${DAG}/clearTaskInstances`,
    { body: { dag_run_id: "bad", task_ids: ["parts.fails", ["double", 0]], dry_run: false } },
    200,
  ],
  [`POST ${RUN}/clear`, { body: { dry_run: true } }, 200],
  [`POST ${RUN}/clear`, { path: { dag_run_id: "full" }, body: { dry_run: false, note: "again" } }, 200],
  [`POST ${DAG}/clearDagRuns`, { body: { dag_runs: [{ dag_run_id: "full" }], dry_run: true } }, 200],
  [`POST ${DAG}/clearPartitions`, { body: { partition_key: "none", dry_run: true } }, 200],

  ["POST /api/v2/assets/events", { body: { asset_id: 1, extra: { by: "hand" } } }, 200],
  ["POST /api/v2/assets/{asset_id}/materialize", { body: {} }, 200],
  ["DELETE /api/v2/assets/{asset_id}/queuedEvents", {}, 204],
  ["DELETE /api/v2/assets/{asset_id}/queuedEvents", {}, 404],
  ["DELETE /api/v2/dags/{dag_id}/assets/queuedEvents", { path: { dag_id: "contract_waits" } }, 404],
  ["DELETE /api/v2/dags/{dag_id}/assets/{asset_id}/queuedEvents", { path: { dag_id: "contract_waits" } }, 404],

  ["POST /api/v2/backfills/dry_run", { body: BACKFILL }, 200],
  ["POST /api/v2/backfills", { body: { ...BACKFILL, dag_run_conf: { fails: false } } }, 200],
  ["POST /api/v2/backfills", { body: BACKFILL }, 409],
  ["PUT /api/v2/backfills/{backfill_id}/pause", {}, 200],
  ["PUT /api/v2/backfills/{backfill_id}/unpause", {}, 200],
  ["PUT /api/v2/backfills/{backfill_id}/cancel", {}, 200],
  ["PUT /api/v2/backfills/{backfill_id}/cancel", {}, 409],

  [`POST ${DAG}/dagRuns`, { body: { dag_run_id: "changed", logical_date: "2026-01-20T00:00:00+02:00" } }, 200],
  [`POST ${DAG}/dagRuns`, { body: { dag_run_id: "changed", logical_date: "2026-01-21T00:00:00Z" } }, 409],
  [`POST ${DAG}/dagRuns`, { body: { logical_date: null, conf: { count: 0 } } }, 400],
  [`DELETE ${TASK}`, { query: { map_index: -1 } }, 200],
  [`DELETE ${RUN}`, { path: { dag_run_id: "bad" } }, 204],
  [`DELETE ${RUN}`, { path: { dag_run_id: "bad" } }, 404],
  ["DELETE /api/v2/dags/{dag_id}", { path: { dag_id: "contract_target" } }, 204],
];
